package e2e

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// A file that nginx sends is what the program would send: the same bytes, ranges and headers; and nobody gets it without the program.
func TestNginxSendsExportFilesItself(t *testing.T) {
	t.Parallel()
	direct := serve(t, "HEARTH_TRUSTED_PROXIES=127.0.0.2/32,127.0.0.1/32", "HEARTH_ACCEL_REDIRECT=/.hearth/files/")
	f := newFront(t, []string{direct.addr}, edit{"site/files.conf", "#location /.hearth/files/ {\n#    internal;\n#    alias /var/lib/hearth/files/;\n#    include hearth/file.conf;\n#}",
		"location /.hearth/files/ {\n    internal;\n    alias " + direct.dir + "/files/;\n    include hearth/file.conf;\n}"})
	s := f.before(t)
	ann, _ := s.signup("ann@example.com")
	device := ann.device("kitchen")
	for i := range 50 {
		ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "x", "value": i}, 201)
	}
	var e exportOf
	ann.do("POST", "/exports", map[string]any{"type": "logs", "format": "csv"}, 202).Into(t, &e)
	within(t, 20*time.Second, "the export completes", func() string {
		ann.do("GET", "/exports/"+e.ID, nil, 200).Into(t, &e)
		if e.Status != "completed" {
			return e.Status
		}
		return ""
	})
	path := "/exports/" + e.ID + "/file"
	whole := ann.do("GET", path, nil, 200)
	if int64(len(whole.Body)) != e.Result.Size || strings.Count(string(whole.Body), "\n") != 51 {
		t.Fatalf("%d bytes of %d", len(whole.Body), e.Result.Size)
	}
	tag := `"` + e.Result.SHA256 + `"`
	for name, want := range map[string]string{
		"ETag": tag, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Accept-Ranges": "bytes",
	} {
		if got := whole.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q once", name, got, want)
		}
	}
	if !strings.HasPrefix(whole.Header.Get("Content-Disposition"), "attachment") || !strings.HasPrefix(whole.Header.Get("Content-Type"), "text/csv") ||
		whole.Header.Get("X-Request-ID") == "" || whole.Header.Get("X-Accel-Redirect") != "" {
		t.Errorf("headers %v", whole.Header)
	}
	if part := ann.do("GET", path, nil, 206, "Range", "bytes=10-19"); !bytes.Equal(part.Body, whole.Body[10:20]) {
		t.Errorf("a range gives %q, want %q", part.Body, whole.Body[10:20])
	}
	if part := ann.do("GET", path, nil, 206, "Range", "bytes=10-19", "If-Range", tag); !bytes.Equal(part.Body, whole.Body[10:20]) {
		t.Errorf("a range of this file gives %q", part.Body)
	}
	if all := ann.do("GET", path, nil, 200, "Range", "bytes=10-19", "If-Range", `"another"`); len(all.Body) != len(whole.Body) {
		t.Errorf("a range of another file gives %d bytes", len(all.Body))
	}
	ann.do("GET", path, nil, 304, "If-None-Match", tag)
	if a := ann.do("GET", path, nil, 416, "Range", "bytes=999999999-"); problem(t, a) != "range_not_satisfiable" {
		t.Errorf("%s", a.Body)
	}
	bob, _ := s.signup("bob@example.com")
	bob.do("GET", path, nil, 404)
	s.anonymous().do("GET", path, nil, 401)
	if a, err := s.anonymous().http.Get(s.url + "/.hearth/files/exports/"); err != nil || a.StatusCode != 404 {
		t.Errorf("past the program: %v %v", a, err)
	} else {
		_ = a.Body.Close()
	}
	within(t, 5*time.Second, "the log says that the program was asked", func() string {
		if !strings.Contains(direct.log.String(), `"route":"/api/v1/exports/{id}/file","status":200`) {
			return "it does not"
		}
		return ""
	})
	if strings.Contains(direct.log.String(), `"route":"/api/v1/exports/{id}/file","status":206`) {
		t.Error("the program sent a range itself")
	}
}
