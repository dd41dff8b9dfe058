package api

import (
	"context"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/exports"
)

func (a *API) registerExportFile(s *exports.Service) {
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "download-export", Method: http.MethodGet, Path: "/exports/{id}/file", Tag: tagExports,
		Access: rest.ForUsers, Key: hearth.KeyExportsRead, Plain: true,
		Codes:   []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict, hearth.CodeRangeNotSatisfiable, hearth.CodeVersionMismatch},
		Summary: "Download an export's file",
		Description: "The bytes as they were summed up in `sha256`, which is the ETag too. Ranges let a download go on where it broke off " +
			"(`Range`, `If-Range`). `conflict` until the export is completed. What the caller may read is checked again: `forbidden` if the file " +
			"holds something that they may no longer read.",
	}, func(doc *huma.Operation) {
		text := func(name, description, example string) *huma.Param {
			return &huma.Param{Name: name, In: "header", Description: description, Schema: &huma.Schema{Type: huma.TypeString}, Example: example}
		}
		doc.Parameters = append(doc.Parameters, &huma.Param{
			Name: "id", In: "path", Required: true, Description: "The export.", Schema: &huma.Schema{Type: huma.TypeString},
			Example: "0195a1b2-9999-7e5f-8a9b-0c1d2e3f4a5b",
		}, text("Range", "Which bytes.", "bytes=0-1023"), text("If-Range", "The ETag that the range is of.", `"9f86d081…"`),
			text("If-None-Match", "ETags that the client has.", `"9f86d081…"`), text("If-Match", "ETags that the file must have one of.", `"9f86d081…"`))
		content := map[string]*huma.MediaType{}
		for _, kind := range []string{
			"text/csv", "application/x-ndjson", "application/vnd.apache.parquet", "application/gzip", "application/zstd",
		} {
			content[kind] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
		}
		content["application/json"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject}}}
		doc.Responses["200"] = &huma.Response{Description: "The file", Content: content, Headers: map[string]*huma.Param{
			"ETag":                {Description: "The file's SHA-256.", Schema: &huma.Schema{Type: huma.TypeString}},
			"Content-Disposition": {Description: "attachment, with the file's name.", Schema: &huma.Schema{Type: huma.TypeString}},
		}}
		doc.Responses["206"] = &huma.Response{Description: "A part of the file", Content: content}
		doc.Responses["304"] = &huma.Response{Description: "The client has the file"}
	}, func(w http.ResponseWriter, r *http.Request) error { return a.serveExport(s, w, r) })
}

// accel returns the address by which a proxy sends the file itself; "" where the program has to.
func (a *API) accel(r *http.Request, key string) string {
	if a.options.AccelRedirect == "" || !a.FromProxy(r) {
		return ""
	}
	return (&url.URL{Path: a.options.AccelRedirect + key}).EscapedPath()
}

func (a *API) serveExport(s *exports.Service, w http.ResponseWriter, r *http.Request) error {
	file, err := s.Open(r.Context(), rest.CallerOf(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	defer file.Close()
	result := file.Export.Result
	header := w.Header()
	header.Set("Content-Type", file.MediaType)
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": result.FileName}))
	header.Set("ETag", `"`+result.SHA256+`"`)
	header.Set("Cache-Control", "private, no-cache")
	if wanted := byteRanges(r.Header.Get("Range"), result.Size); wanted == "" {
		r.Header.Del("Range")
	} else {
		r.Header.Set("Range", wanted)
	}
	out := &fileWriter{ResponseWriter: w, control: http.NewResponseController(w), accel: a.accel(r, file.Export.File), begin: func() {
		if r.Method == http.MethodGet {
			s.CountDownload(context.WithoutCancel(r.Context()), file.Export.ID)
		}
	}}
	http.ServeContent(out, r, "", file.Export.CompletedAt, file)
	if out.refused == 0 {
		return nil
	}
	header.Del("Content-Disposition")
	if out.refused == http.StatusPreconditionFailed {
		return hearth.Errorf(hearth.CodeVersionMismatch, "the file is another one")
	}
	return hearth.Errorf(hearth.CodeRangeNotSatisfiable, "the file has no such range: it has %d bytes", result.Size)
}

// fileWriter is the writer of http.ServeContent: it holds back its refusals, reports a download that begins
// with the first byte, and moves the deadline on with every piece.
type fileWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	begin   func()
	// refused is the status of a refusal that is held back, 0 if there is none.
	refused int
	// accel is where a proxy finds the file: it gets that instead of the bytes, and takes the range out of them itself.
	accel string
}

var errHandedOver = errors.New("the proxy sends the file")

func (w *fileWriter) WriteHeader(status int) {
	switch status {
	case http.StatusRequestedRangeNotSatisfiable, http.StatusPreconditionFailed:
		w.refused = status
		return
	case http.StatusOK:
		w.begin()
	case http.StatusPartialContent:
		if strings.HasPrefix(w.Header().Get("Content-Range"), "bytes 0-") {
			w.begin()
		}
	}
	if w.accel != "" && (status == http.StatusOK || status == http.StatusPartialContent) {
		header := w.Header()
		header.Del("Content-Length")
		header.Del("Content-Range")
		header.Del("Accept-Ranges") // the proxy says so itself
		header.Set("X-Accel-Redirect", w.accel)
		status = http.StatusOK
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *fileWriter) Write(p []byte) (int, error) {
	if w.refused != 0 {
		return len(p), nil
	}
	if w.accel != "" {
		return 0, errHandedOver
	}
	rest.KeepSending(w.control)
	return w.ResponseWriter.Write(p)
}

var _ io.Writer = (*fileWriter)(nil)

// maxRanges bounds the parts of a file that one answer has: each is a read of its own from where the file is stored.
const maxRanges = 16

// byteRanges returns a Range header as http.ServeContent answers it by RFC 9110: "" for an unknown unit, for a syntax error and for more than
// maxRanges, which all count as no header; an empty suffix ("-0") as a range that no file has.
func byteRanges(header string, size int64) string {
	unit, list, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return ""
	}
	var ranges []string
	for spec := range strings.SplitSeq(list, ",") {
		if spec = strings.TrimSpace(spec); spec == "" {
			continue
		}
		first, last, dash := strings.Cut(spec, "-")
		from, fromOK := parsePosition(first)
		to, toOK := parsePosition(last)
		switch {
		case !dash, first == "" && last == "", first != "" && !fromOK, last != "" && !toOK, first != "" && last != "" && from > to:
			return ""
		case first == "" && to == 0:
			ranges = append(ranges, strconv.FormatInt(size, 10)+"-")
		case first == "":
			ranges = append(ranges, "-"+strconv.FormatInt(to, 10))
		case last == "":
			ranges = append(ranges, strconv.FormatInt(from, 10)+"-")
		default:
			ranges = append(ranges, strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to, 10))
		}
	}
	if len(ranges) == 0 || len(ranges) > maxRanges {
		return ""
	}
	return "bytes=" + strings.Join(ranges, ",")
}

// parsePosition reads digits; a number that is too large for any file is the largest one.
func parsePosition(digits string) (int64, bool) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return n, true
}
