/* names.c - what the server would make of a name, and the type that a name tells. Pure. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "backend/girder/private.h"

int girder_check_name(const char *name)
{
	const char *at;
	size_t n;

	if (!str_utf8_valid(name, strlen(name)))
		return -EILSEQ;         /* its JSON would not be any */
	parse_trimmed(name, &at, &n);
	if (!n || n != strlen(name) || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	return 0;
}

/* Of the longest extension that is known: ".nii.gz" before ".gz". Sorted by nothing: it is short. */
static const struct {
	const char *extension, *mime;
} types[] = {
	{"7z", "application/x-7z-compressed"}, {"avi", "video/x-msvideo"}, {"bam", "application/octet-stream"}, {"bmp", "image/bmp"},
	{"bz2", "application/x-bzip2"}, {"c", "text/x-csrc"}, {"cdf", "application/x-netcdf"}, {"cpp", "text/x-c++src"},
	{"css", "text/css"}, {"csv", "text/csv"}, {"dcm", "application/dicom"}, {"dicom", "application/dicom"}, {"doc", "application/msword"},
	{"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"}, {"fasta", "text/x-fasta"},
	{"fastq", "text/x-fastq"}, {"fit", "application/fits"}, {"fits", "application/fits"}, {"geojson", "application/geo+json"},
	{"gif", "image/gif"}, {"gz", "application/gzip"}, {"h", "text/x-chdr"}, {"h5", "application/x-hdf5"}, {"hdf", "application/x-hdf"},
	{"hdf5", "application/x-hdf5"}, {"html", "text/html"}, {"htm", "text/html"}, {"ipynb", "application/x-ipynb+json"},
	{"java", "text/x-java"}, {"jp2", "image/jp2"}, {"jpeg", "image/jpeg"}, {"jpg", "image/jpeg"}, {"js", "text/javascript"},
	{"json", "application/json"}, {"jsonl", "application/jsonl"}, {"log", "text/plain"}, {"m", "text/x-matlab"},
	{"mat", "application/x-matlab-data"}, {"md", "text/markdown"}, {"mha", "application/octet-stream"}, {"mkv", "video/x-matroska"},
	{"mov", "video/quicktime"}, {"mp3", "audio/mpeg"}, {"mp4", "video/mp4"}, {"nc", "application/x-netcdf"},
	{"nii", "application/x-nifti"}, {"nii.gz", "application/x-nifti"}, {"npy", "application/octet-stream"}, {"npz", "application/zip"},
	{"obj", "model/obj"}, {"ods", "application/vnd.oasis.opendocument.spreadsheet"}, {"odt", "application/vnd.oasis.opendocument.text"},
	{"parquet", "application/vnd.apache.parquet"}, {"pdf", "application/pdf"}, {"png", "image/png"},
	{"ppt", "application/vnd.ms-powerpoint"}, {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
	{"ps", "application/postscript"}, {"py", "text/x-python"}, {"r", "text/x-r"}, {"rst", "text/x-rst"}, {"rtf", "application/rtf"},
	{"sh", "application/x-sh"}, {"sql", "application/sql"}, {"stl", "model/stl"}, {"svg", "image/svg+xml"}, {"svs", "image/tiff"},
	{"tar", "application/x-tar"}, {"tar.gz", "application/gzip"}, {"tex", "text/x-tex"}, {"tgz", "application/gzip"}, {"tif", "image/tiff"},
	{"tiff", "image/tiff"}, {"toml", "application/toml"}, {"tsv", "text/tab-separated-values"}, {"txt", "text/plain"},
	{"vtk", "application/octet-stream"}, {"wav", "audio/x-wav"}, {"webm", "video/webm"}, {"webp", "image/webp"},
	{"xls", "application/vnd.ms-excel"}, {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
	{"xml", "application/xml"}, {"xz", "application/x-xz"}, {"yaml", "application/yaml"}, {"yml", "application/yaml"},
	{"zip", "application/zip"}, {"zst", "application/zstd"},
};

const char *girder_mime_of(const char *name)
{
	const char *best = "application/octet-stream";
	size_t n = strlen(name), longest = 0;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		size_t l = strlen(types[i].extension);

		/* Something stands in front of the dot, else it is a hidden name. */
		if (l > longest && n > l + 1 && name[n - l - 1] == '.' && strcasecmp(name + n - l, types[i].extension) == 0) {
			best = types[i].mime;
			longest = l;
		}
	}
	return best;
}
