package backup_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"hearth"
	"hearth/internal/backup"
)

// TestAnArchiveOfAnEarlierProgramRestores: testdata/earlier.tar was written by the program before records had descriptions, from
// the database in store/sqlite/testdata/old. Its idempotency record holds an HTTP answer.
func TestAnArchiveOfAnEarlierProgramRestores(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	manifest, err := backup.Restore(t.Context(), backup.RestoreOptions{
		To: s, Open: func() (io.ReadCloser, error) { return os.Open(filepath.Join("testdata", "earlier.tar")) },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, again := write(t, s, nil)
	for _, stream := range manifest.Streams {
		if n := again.Records(stream.Name); n != stream.Records {
			t.Errorf("%d %s are stored; want %d", n, stream.Name, stream.Records)
		}
	}
	all := hearth.Page{Limit: hearth.MaxLimit, Count: true}
	users, err := s.Users(t.Context(), hearth.UserFilter{}, all)
	if err != nil || users.Total != 3 {
		t.Errorf("%d users, %v", users.Total, err)
	}
	orgs, err := s.Organizations(t.Context(), hearth.OrganizationFilter{}, all)
	if err != nil || len(orgs.Items) != 1 {
		t.Fatalf("%d organizations, %v", len(orgs.Items), err)
	}
	if members, err := s.Members(t.Context(), orgs.Items[0].ID, all); err != nil || len(members.Items) != 1 || members.Items[0].Email == "" {
		t.Errorf("the members are %+v, %v", members.Items, err)
	}
	exports, err := s.Exports(t.Context(), hearth.ExportFilter{}, all)
	if err != nil || len(exports.Items) != 1 || exports.Items[0].Result == nil {
		t.Errorf("the exports are %+v, %v", exports.Items, err)
	}
	if figures, err := s.ExportFigures(t.Context(), hearth.ExportFilter{}); err != nil || figures.Bytes != exports.Items[0].Result.Size {
		t.Errorf("the figures are %+v, %v", figures, err)
	}
}
