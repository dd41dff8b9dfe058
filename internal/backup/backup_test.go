package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth"
	"hearth/internal/backup"
	"hearth/internal/store/archive"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
	"hearth/internal/store/storetest"
)

// parts is a source that holds what it is.
type parts []storetest.ArchivePart

func (p parts) Archive(context.Context) iter.Seq2[archive.Part, error] {
	return func(yield func(archive.Part, error) bool) {
		for _, part := range p {
			if !yield(part.Part(), nil) {
				return
			}
		}
	}
}

func openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var testKey = []byte("0123456789abcdef0123456789ABCDEF") // never written to

// write returns the archive of a source.
func write(t *testing.T, from backup.Source, key []byte) ([]byte, backup.Manifest) {
	t.Helper()
	var b bytes.Buffer
	manifest, err := backup.Write(t.Context(), &b, backup.WriteOptions{From: from, Program: "v1", Store: "sqlite", Settings: "addr = \":8080\"\n", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), manifest
}

// read returns the parts of an archive.
func read(t *testing.T, data []byte, keys ...[]byte) (got parts, _ backup.Manifest, _ error) {
	manifest, err := backup.Read(t.Context(), bytes.NewReader(data), backup.ReadOptions{Keys: keys, Part: func(p archive.Part) error {
		part, err := storetest.ReadPart(p)
		got = append(got, part)
		return err
	}})
	return got, manifest, err
}

func TestAnArchiveGivesEveryRecordBack(t *testing.T) {
	t.Parallel()
	for name, key := range map[string][]byte{"plain": nil, "encrypted": testKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := parts(storetest.Everything(30))
			data, written := write(t, want, key)
			got, manifest, err := read(t, data, bytes.Repeat([]byte{7}, 32), testKey)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(written, manifest); diff != "" {
				t.Errorf("the manifest differs (-written +read):\n%s", diff)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("records differ (-want +got):\n%s", diff)
			}
			if n := manifest.Records("logs"); n != 900 {
				t.Errorf("the manifest counts %d logs; want 900", n)
			}
		})
	}
}

func TestAnEncryptedArchiveNeedsItsKey(t *testing.T) {
	t.Parallel()
	data, _ := write(t, parts(storetest.Everything(3)), testKey)
	if bytes.Contains(data, []byte("hearth-backup.json")) {
		t.Error("the encrypted archive shows its members")
	}
	if _, _, err := read(t, data); err == nil || errors.Is(err, backup.ErrDamaged) {
		t.Errorf("without a key: %v", err)
	}
	if _, _, err := read(t, data, bytes.Repeat([]byte{7}, 32)); err == nil || errors.Is(err, backup.ErrDamaged) {
		t.Errorf("with another key: %v", err)
	}
}

func TestDamageNeverGoesUnseen(t *testing.T) {
	t.Parallel()
	want := parts(storetest.Everything(6))
	for name, key := range map[string][]byte{"plain": nil, "encrypted": testKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, _ := write(t, want, key)
			whole, _, broken := read(t, data, testKey)
			if broken != nil || !cmp.Equal(want, whole, cmpopts.EquateEmpty()) {
				t.Fatalf("the archive is not what was written: %v", broken)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for range 150 {
				bad := slices.Clone(data)
				at := rng.IntN(len(bad))
				bad[at] ^= byte(1 << rng.IntN(8))
				got, _, err := read(t, bad, testKey)
				// A tar has bytes between its members that mean nothing; an encrypted archive has none.
				if err == nil && (key != nil || !reflect.DeepEqual(whole, got)) {
					t.Fatalf("byte %d of %d was changed unseen", at, len(data))
				}
			}
			end := len(bytes.TrimRight(data, "\x00"))
			for range 60 {
				cut := rng.IntN(end)
				if _, _, err := read(t, data[:cut], testKey); !errors.Is(err, backup.ErrDamaged) {
					t.Fatalf("cut to %d of %d bytes: %v", cut, len(data), err)
				}
			}
			if _, _, err := read(t, append(slices.Clone(data), "more"...), testKey); !errors.Is(err, backup.ErrDamaged) {
				t.Errorf("with bytes behind its end: %v", err)
			}
		})
	}
}

func TestABrokenAuditChainIsDamage(t *testing.T) {
	t.Parallel()
	all := storetest.Everything(6)
	audit := all[len(all)-2].Audit
	audit[4].Action = "device.delete" // the writer does not judge; the reader does
	data, _ := write(t, parts(all), nil)
	if _, _, err := read(t, data); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("an edited audit entry gives %v; want damage", err)
	}
}

// An audit whose oldest entries are gone is whole if a later entry says that they were trimmed.
func TestATrimmedAuditIsWhole(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		named int64 // the entry that a trimming names, 0 for none
		whole bool
	}{"trimmed": {5, true}, "trimmed, and not all of them removed": {6, true}, "gone without a word": {0, false}, "more is gone": {4, false}} {
		all := storetest.Everything(6)
		audit := all[len(all)-2].Audit
		last := audit[len(audit)-1]
		if tt.named > 0 {
			of := audit[tt.named-1]
			entry, err := hearth.TrimEntry(last.At, hearth.AuditHead{Seq: of.Seq, Hash: of.Hash}).Chained(hearth.AuditHead{Seq: last.Seq, Hash: last.Hash})
			if err != nil {
				t.Fatal(err)
			}
			audit = append(audit, entry)
		}
		all[len(all)-2].Audit = audit[5:]
		data, _ := write(t, parts(all), nil)
		if _, _, err := read(t, data); (err == nil) != tt.whole || err != nil && !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestANewerFormatIsRefused(t *testing.T) {
	t.Parallel()
	data, _ := write(t, parts(storetest.Everything(2)), nil)
	data = bytes.Replace(data, []byte(`"format": 1`), []byte(`"format": 2`), 1)
	if _, _, err := read(t, data); err == nil || errors.Is(err, backup.ErrDamaged) {
		t.Errorf("a newer format gives %v", err)
	}
}

// failing is a target that fails once after some parts.
type failing struct {
	*sqlite.Store
	left int
}

var errPower = errors.New("the power is gone")

func (f *failing) RestorePart(ctx context.Context, part archive.Part, mark archive.Restore) error {
	if f.left--; f.left < 0 {
		return errPower
	}
	return f.Store.RestorePart(ctx, part, mark)
}

func TestARestoreGoesOnWhereItStoppedAndCompares(t *testing.T) {
	t.Parallel()
	want := parts(storetest.Everything(30))
	data, written := write(t, want, nil)
	s := openStore(t)
	restore := func(to backup.Target) (backup.Manifest, error) {
		return backup.Restore(t.Context(), backup.RestoreOptions{
			To: to, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		})
	}
	for _, left := range []int{0, 1, 5, 9} {
		if _, err := restore(&failing{s, left}); !errors.Is(err, errPower) {
			t.Fatalf("the restore that fails gives %v", err)
		}
		if _, err := s.Restoring(t.Context()); err != nil {
			t.Fatalf("after a restore that failed: %v; want the mark", err)
		}
	}
	if _, err := restore(s); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restoring(t.Context()); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("after a restore that ended well: %v; want no mark", err)
	}
	_, again := write(t, s, nil)
	for i, stream := range again.Streams {
		if w := written.Streams[i]; stream.Digest != w.Digest || stream.Records != w.Records {
			t.Errorf("%s differs: %+v, want %+v", stream.Name, stream, w)
		}
	}
	if _, err := restore(s); err != nil {
		t.Errorf("a restore that had ended, called again, gives %v", err)
	}
	if _, err := s.CreateDevices(t.Context(), []hearth.Device{{ID: "new", Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "u"}}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if _, err := restore(s); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("a restore into a store that was used gives %v; want %s", err, hearth.CodeConflict)
	}
}

func TestADamagedArchiveLeavesTheStoreUntouched(t *testing.T) {
	t.Parallel()
	data, _ := write(t, parts(storetest.Everything(6)), nil)
	data = data[:len(data)/2]
	s := openStore(t)
	_, err := backup.Restore(t.Context(), backup.RestoreOptions{
		To: s, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	})
	if !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("half an archive gives %v; want damage", err)
	}
	if _, err := s.Restoring(t.Context()); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("the store is marked: %v", err)
	}
}

// lossy is a target that loses a log of each part, and lying one whose rollups are wrong.
type lossy struct{ *sqlite.Store }

func (l lossy) RestorePart(ctx context.Context, part archive.Part, mark archive.Restore) error {
	if len(part.Logs) > 1 {
		part.Logs = part.Logs[1:]
	}
	return l.Store.RestorePart(ctx, part, mark)
}

type lying struct{ *sqlite.Store }

func (l lying) Rollups(ctx context.Context, q hearth.RollupQuery) ([][]hearth.Rollup, error) {
	answers, err := l.Store.Rollups(ctx, q)
	if err == nil {
		answers[0][0].Count++
	}
	return answers, err
}

func TestAStoreThatKeepsSomethingElseIsFoundOut(t *testing.T) {
	t.Parallel()
	data, _ := write(t, parts(storetest.Everything(6)), nil)
	for name, wrap := range map[string]func(*sqlite.Store) backup.Target{
		"logs":    func(s *sqlite.Store) backup.Target { return lossy{s} },
		"rollups": func(s *sqlite.Store) backup.Target { return lying{s} },
	} {
		s := openStore(t)
		_, err := backup.Restore(t.Context(), backup.RestoreOptions{
			To: wrap(s), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		})
		if err == nil {
			t.Errorf("%s: the restore ended well", name)
		}
		if _, err := s.Restoring(t.Context()); err != nil {
			t.Errorf("%s: the mark is gone: %v", name, err)
		}
	}
}

func TestAStoreMovesIntoAnother(t *testing.T) {
	t.Parallel()
	from, to := openStore(t), openStore(t)
	data, _ := write(t, parts(storetest.Everything(30)), nil)
	_, err := backup.Restore(t.Context(), backup.RestoreOptions{
		To: from, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	move := func(to backup.Target) ([]backup.Stream, error) {
		return backup.Move(t.Context(), backup.MoveOptions{From: from, Name: "a", To: to})
	}
	if _, err := move(&failing{to, 7}); !errors.Is(err, errPower) {
		t.Fatalf("the move that fails gives %v", err)
	}
	if _, err := backup.Move(t.Context(), backup.MoveOptions{From: from, Name: "b", To: to}); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("the move of another store into the half moved one gives %v; want %s", err, hearth.CodeConflict)
	}
	if _, err := move(to); err != nil {
		t.Fatal(err)
	}
	_, first := write(t, from, nil)
	_, second := write(t, to, nil)
	if diff := cmp.Diff(first.Streams, second.Streams); diff != "" {
		t.Errorf("the stores differ (-from +to):\n%s", diff)
	}
}

func TestASourceThatChangedIsFoundOut(t *testing.T) {
	t.Parallel()
	all := storetest.Everything(6)
	to := openStore(t)
	if _, err := backup.Move(t.Context(), backup.MoveOptions{From: parts(all), Name: "a", To: &failing{to, 9}}); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	all[1].Users[2].Name = "changed meanwhile"
	if _, err := backup.Move(t.Context(), backup.MoveOptions{From: parts(all), Name: "a", To: to}); err == nil {
		t.Error("the move of a store that changed ended well")
	}
	if _, err := to.Restoring(t.Context()); err != nil {
		t.Errorf("the mark is gone: %v", err)
	}
}

func TestALargeHistoryKeepsItsBlocks(t *testing.T) {
	t.Parallel()
	all := storetest.Everything(2)
	logs := make([]hearth.LogEntry, archive.MaxPart+1000)
	for i := range logs {
		logs[i] = hearth.LogEntry{Device: int64(3 + 10*(i%2)), Event: "e", Value: hearth.Number(float64(i%100) / 10), At: int64(i) * 1000, Seq: uint64(i + 1)}
	}
	all = all[:len(all)-1]
	for piece := range slices.Chunk(logs, 999) {
		all = append(all, storetest.ArchivePart{Logs: piece})
	}
	data, manifest := write(t, parts(all), nil)
	if n := manifest.Records("logs"); n != int64(len(logs)) {
		t.Errorf("the manifest counts %d logs; want %d", n, len(logs))
	}
	got, _, err := read(t, data)
	if err != nil {
		t.Fatal(err)
	}
	var found []hearth.LogEntry
	for _, p := range got {
		found = append(found, p.Logs...)
	}
	if !slices.Equal(logs, found) {
		t.Error("the logs differ")
	}
}

func TestPlacesKeepWholeFilesOnly(t *testing.T) {
	t.Parallel()
	folder := backup.Folder{Path: filepath.Join(t.TempDir(), "new")}
	if files, err := folder.List(t.Context()); err != nil || len(files) != 0 {
		t.Fatalf("a folder that is not there lists %v, %v", files, err)
	}
	_, err := folder.Write(t.Context(), "x", func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return errPower
	})
	if !errors.Is(err, errPower) {
		t.Fatalf("a failed write gives %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(folder.Path, "*")); err != nil || len(left) != 0 {
		t.Errorf("a failed write leaves %v, %v", left, err)
	}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	keep := func(at time.Time, scheduled bool) {
		if _, err := folder.Write(t.Context(), backup.NameOf(at, scheduled, false), func(w io.Writer) error {
			_, err := fmt.Fprint(w, at)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		keep(start.Add(time.Duration(i)*time.Hour), true)
	}
	keep(start.Add(-time.Hour), false)
	_, err = folder.Write(t.Context(), backup.NameOf(start, true, false), func(io.Writer) error { return nil })
	if hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("a name that is taken gives %v; want %s", err, hearth.CodeConflict)
	}
	if removed, err := backup.Prune(t.Context(), folder, 2); err != nil || removed != 3 {
		t.Errorf("pruning removed %d, %v; want 3", removed, err)
	}
	files, err := folder.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var at []string
	for _, f := range files {
		at = append(at, f.At.Format("15:04"))
	}
	if want := []string{"16:00", "15:00", "11:00"}; !slices.Equal(at, want) {
		t.Errorf("left are those of %v; want %v", at, want)
	}
}
