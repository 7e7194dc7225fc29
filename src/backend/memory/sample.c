/* sample.c - the sample repository: what a newcomer tours, and each name, size and kind of metadata that a test needs. */
#include <stddef.h>

#include "backend/memory/private.h"

#define ALL (RIGHT_READ | RIGHT_PUBLIC)
#define KB 1024ull
#define MB (1024ull * 1024)

/* 300 bytes, which no POSIX file system can hold. */
#define TEN "abcdefghi "
#define FIFTY TEN TEN TEN TEN TEN
#define NAME_300 FIFTY FIFTY FIFTY FIFTY FIFTY TEN TEN TEN TEN "the end.md"

static const char readme[] =
	"This repository is kept in the memory of scifs: no server is asked, and what you write is gone when it ends.\n"
	"\n"
	"  tables/    small tables as text\n"
	"  images/    binary files of several sizes\n"
	"  nested/    folders in folders\n"
	"  names/     names that are not easy\n"
	"  links/     symbolic links\n"
	"\n"
	"Write beside this file, or in nested/not public: all else here may only be read.\n"
	"Metadata:  getfattr -d tables/planets.csv ; cat tables/.scifs/meta/planets.csv.json\n";

static const char planets[] =
	"name,mass_1e24kg,diameter_km,distance_1e6km,orbit_days,moons\n"
	"Mercury,0.330,4879,57.9,88.0,0\n"
	"Venus,4.87,12104,108.2,224.7,0\n"
	"Earth,5.97,12756,149.6,365.2,1\n"
	"Mars,0.642,6792,228.0,687.0,2\n"
	"Jupiter,1898,142984,778.5,4331,95\n"
	"Saturn,568,120536,1432.0,10747,146\n"
	"Uranus,86.8,51118,2867.0,30589,28\n"
	"Neptune,102,49528,4515.0,59800,16\n";

static const char planets_meta[] =
	"{\"title\": \"The planets\", \"license\": \"CC0-1.0\", \"rows\": 8, \"checked\": true, \"reviewer\": null, "
	"\"keywords\": [\"astronomy\", \"planets\"], \"columns\": [{\"name\": \"mass\", \"unit\": \"1e24 kg\"}, "
	"{\"name\": \"diameter\", \"unit\": \"km\"}], \"source\": {\"agency\": \"none\", \"year\": 2026, "
	"\"contact\": {\"name\": \"J\\u00fcrgen \\u00d8\", \"room\": \"4.11\"}}}";

static const char elements[] =
	"number\tsymbol\tname\n1\tH\tHydrogen\n2\tHe\tHelium\n3\tLi\tLithium\n4\tBe\tBeryllium\n5\tB\tBoron\n6\tC\tCarbon\n"
	"7\tN\tNitrogen\n8\tO\tOxygen\n9\tF\tFluorine\n10\tNe\tNeon\n";

static const char numbers_meta[] =
	"{\"beyond_double\": 9007199254740993, \"int64_max\": 9223372036854775807, \"int64_min\": -9223372036854775808, "
	"\"pi\": 3.141592653589793238, \"tiny\": 1e-300, \"negative\": -0.5, \"zero\": 0, \"false\": false, \"nothing\": null, "
	"\"empty_text\": \"\", \"empty_list\": [], \"empty_object\": {}, \"lists\": [[1, 2], [3, [4]]], "
	"\"key with space\": 1, \"key.with.dot\": 2, \"tab\\tkey\": 3, \"sch\\u00f6n\": \"\\ud83d\\ude00\"}";

const struct row sample[] = {
	{.key = "readme", .name = "README.txt", .kind = OBJECT_FILE, .rights = ALL, .text = readme, .mime = "text/plain",
	 .digest = "sha512", .meta = "{\"title\": \"What is here\"}"},
	{.key = "empty", .name = "empty.dat", .kind = OBJECT_FILE, .rights = ALL, .text = "", .mime = "application/octet-stream",
	 .digest = "sha512"},

	{.key = "tables", .name = "tables", .kind = OBJECT_DIR, .rights = ALL,
	 .meta = "{\"title\": \"Tables\", \"size_limit\": 10}"},
	{.key = "tables.planets", .in = "tables", .name = "planets.csv", .kind = OBJECT_FILE, .rights = ALL, .text = planets,
	 .mime = "text/csv", .digest = "sha512", .meta = planets_meta},
	{.key = "tables.elements", .in = "tables", .name = "elements.tsv", .kind = OBJECT_FILE, .rights = ALL, .text = elements,
	 .mime = "text/tab-separated-values", .digest = "md5", .meta = numbers_meta},

	{.key = "images", .name = "images", .kind = OBJECT_DIR, .rights = ALL},
	{.key = "images.one", .in = "images", .name = "one.dat", .kind = OBJECT_FILE, .rights = ALL, .noise = 1, .seed = 11,
	 .digest = "sha512"},
	{.key = "images.4k", .in = "images", .name = "noise-4k.dat", .kind = OBJECT_FILE, .rights = ALL, .noise = 4 * KB, .seed = 12,
	 .mime = "application/octet-stream", .digest = "md5"},
	{.key = "images.odd", .in = "images", .name = "noise-odd.dat", .kind = OBJECT_FILE, .rights = ALL, .noise = 100003, .seed = 13,
	 .mime = "application/octet-stream", .digest = "sha512"},
	{.key = "images.1m", .in = "images", .name = "noise-1m.dat", .kind = OBJECT_FILE, .rights = ALL, .noise = 1 * MB, .seed = 14,
	 .mime = "application/octet-stream", .digest = "sha512"},
	{.key = "images.5m", .in = "images", .name = "noise-5m.dat", .kind = OBJECT_FILE, .rights = ALL, .noise = 5 * MB + 7,
	 .seed = 15, .mime = "application/octet-stream", .digest = "sha512", .meta = "{\"camera\": {\"iso\": 200, \"lens\": \"50 mm\"}}"},
	{.key = "images.no-digest", .in = "images", .name = "no-digest.dat", .kind = OBJECT_FILE, .rights = ALL, .noise = 200 * KB,
	 .seed = 16},

	{.key = "nested", .name = "nested", .kind = OBJECT_DIR, .rights = ALL},
	{.key = "nested.a", .in = "nested", .name = "a", .kind = OBJECT_DIR, .rights = ALL},
	{.key = "nested.a.b", .in = "nested.a", .name = "b", .kind = OBJECT_DIR, .rights = ALL},
	{.key = "nested.a.b.c", .in = "nested.a.b", .name = "c", .kind = OBJECT_DIR, .rights = ALL, .meta = "{\"depth\": 4}"},
	{.key = "nested.a.b.c.deep", .in = "nested.a.b.c", .name = "deep.txt", .kind = OBJECT_FILE, .rights = ALL,
	 .text = "Four folders down.\n", .mime = "text/plain", .digest = "sha512"},
	{.key = "nested.empty", .in = "nested", .name = "empty", .kind = OBJECT_DIR, .rights = ALL},
	{.key = "nested.own", .in = "nested", .name = "not public", .kind = OBJECT_DIR, .rights = RIGHT_READ | RIGHT_WRITE},
	{.key = "nested.own.notes", .in = "nested.own", .name = "notes.txt", .kind = OBJECT_FILE, .rights = RIGHT_READ | RIGHT_WRITE,
	 .text = "Who mounted this may read it, others may not.\n", .mime = "text/plain"},

	{.key = "names", .name = "names", .kind = OBJECT_DIR, .rights = ALL},
	{.key = "names.space", .in = "names", .name = "two  words.txt", .kind = OBJECT_FILE, .rights = ALL, .text = "two words\n"},
	{.key = "names.utf8", .in = "names", .name = "gr\303\266\303\237e \316\251 \346\227\245\346\234\254.txt", .kind = OBJECT_FILE,
	 .rights = ALL, .text = "UTF-8\n"},
	{.key = "names.percent", .in = "names", .name = "100% sure.txt", .kind = OBJECT_FILE, .rights = ALL, .text = "percent\n"},
	{.key = "names.escaped", .in = "names", .name = "a%2Fb.txt", .kind = OBJECT_FILE, .rights = ALL,
	 .text = "a name that looks like an escape\n"},
	{.key = "names.slash", .in = "names", .name = "a/b.txt", .kind = OBJECT_FILE, .rights = ALL, .text = "slash\n"},
	{.key = "names.quotes", .in = "names", .name = "it's \"quoted\" \\ $HOME `id`.txt", .kind = OBJECT_FILE, .rights = ALL,
	 .text = "quotes\n"},
	{.key = "names.newline", .in = "names", .name = "line\nfeed.txt", .kind = OBJECT_FILE, .rights = ALL, .text = "newline\n"},
	{.key = "names.broken", .in = "names", .name = "broken \377\376.txt", .kind = OBJECT_FILE, .rights = ALL,
	 .text = "not UTF-8\n"},
	{.key = "names.dash", .in = "names", .name = "-rf", .kind = OBJECT_FILE, .rights = ALL, .text = "dash\n"},
	{.key = "names.dots", .in = "names", .name = "..", .kind = OBJECT_FILE, .rights = ALL, .text = "two dots\n"},
	{.key = "names.hidden", .in = "names", .name = ".hidden", .kind = OBJECT_FILE, .rights = ALL, .text = "hidden\n"},
	{.key = "names.control", .in = "names", .name = ".scifs", .kind = OBJECT_FILE, .rights = ALL, .text = "not our .scifs\n"},
	{.key = "names.long", .in = "names", .name = NAME_300, .kind = OBJECT_FILE, .rights = ALL, .text = "300 bytes\n"},
	{.key = "names.twin-1", .in = "names", .name = "twin.txt", .kind = OBJECT_FILE, .rights = ALL, .text = "one twin\n",
	 .meta = "{\"which\": 1}"},
	{.key = "names.twin-2", .in = "names", .name = "twin.txt", .kind = OBJECT_FILE, .rights = ALL, .text = "the other twin\n",
	 .meta = "{\"which\": 2}"},
	{.key = "names.both-dir", .in = "names", .name = "both", .kind = OBJECT_DIR, .rights = ALL},
	{.key = "names.both-file", .in = "names", .name = "both", .kind = OBJECT_FILE, .rights = ALL,
	 .text = "a file of a folder's name\n"},
	{.key = "names.both-dir.in", .in = "names.both-dir", .name = "inside.txt", .kind = OBJECT_FILE, .rights = ALL,
	 .text = "inside of the folder\n"},

	{.key = "links", .name = "links", .kind = OBJECT_DIR, .rights = ALL},
	{.key = "links.newest", .in = "links", .name = "newest.csv", .kind = OBJECT_LINK, .rights = ALL, .text = "../tables/planets.csv"},
	{.key = "links.web", .in = "links", .name = "website", .kind = OBJECT_LINK, .rights = ALL, .text = "https://example.org/data?id=1",
	 .meta = "{\"title\": \"Where more is\"}"},
};
const size_t sample_rows = sizeof(sample) / sizeof(sample[0]);
