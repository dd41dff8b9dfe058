package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const (
	cancelBatches = 200
	// cancelLimit is what is promised: a cancelled export stops writing within it.
	cancelLimit = time.Second
)

// The temporary file is the sign: it is there while an export is written, and gone when writing has stopped.
func TestALargeExportStopsWithinASecondOfBeingCancelled(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ann, _ := s.signup("ann@example.com")
	ann.sendBatches(ann.device("meter"), cancelBatches)
	writing := func() int {
		left, err := os.ReadDir(filepath.Join(s.dir, "files", ".tmp"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return len(left)
	}
	for _, order := range []map[string]any{
		{"type": "logs", "format": "json", "compression": "gzip"}, {"type": "logs", "format": "parquet", "compression": "zstd"},
	} {
		var e exportOf
		ann.do("POST", "/exports", order, 202).Into(t, &e)
		within(t, 10*time.Second, "the export is under way", func() string {
			ann.do("GET", "/exports/"+e.ID, nil, 200).Into(t, &e)
			if e.Status != "running" || writing() == 0 {
				return e.Status
			}
			return ""
		})
		asked := time.Now()
		ann.do("POST", "/exports/"+e.ID+"/cancel", nil, 200).Into(t, &e)
		if e.Status != "cancelled" || e.CompletedAt == nil || e.Result != nil {
			t.Errorf("the cancelled export is %+v", e)
		}
		within(t, time.Until(asked.Add(cancelLimit)), "writing stops", func() string {
			if n := writing(); n > 0 {
				return fmt.Sprint(n, " temporary files")
			}
			return ""
		})
		t.Logf("%s: stopped %s after it was asked to", order["format"], time.Since(asked))
		ann.do("GET", "/exports/"+e.ID, nil, 200).Into(t, &e)
		if files, err := os.ReadDir(filepath.Join(s.dir, "files", "exports")); err == nil && len(files) > 0 || e.Status != "cancelled" {
			t.Errorf("%s: it is %s, with %d files", order["format"], e.Status, len(files))
		}
		ann.do("POST", "/exports/"+e.ID+"/cancel", nil, 409)
	}
}
