package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"time"

	"hearth/internal/newid"
	"hearth/internal/store/archive"

	"github.com/klauspost/compress/zstd"

	"hearth"
)

// The members of an archive, a tar: the header, the settings, the streams in pieces, the manifest.
const (
	headerName   = "hearth-backup.json"
	settingsName = "settings.toml"
	manifestName = "manifest.json"
	piecesDir    = "streams/"
	linesSuffix  = ".ndjson.zst"
	blockSuffix  = ".block.zst"
	// linesPiece is the size in bytes from which lines become a piece.
	linesPiece = 1 << 20
)

// Source is what is archived: archive.Archiver has it.
type Source interface {
	Archive(ctx context.Context) iter.Seq2[archive.Part, error]
}

// WriteOptions say what is written.
type WriteOptions struct {
	From Source
	// Program is the version of this program, Store the kind of store, Settings the configuration without secrets.
	Program  string
	Store    string
	Settings string
	// Key, of KeySize random bytes, encrypts the archive; nil leaves it readable.
	Key []byte
	// Clock tells when; nil is the system's.
	Clock hearth.Clock
	// Progress, if not nil, is told now and then how far the writing is.
	Progress func(Progress)
	// Rest bounds the rest after each part, which is as long as the work on it: what waits for the processor or the disk goes
	// first. 0 is none.
	Rest time.Duration
}

// Write writes an archive of the store as it is now and returns its manifest. What w holds is an archive only if err is nil.
func Write(ctx context.Context, w io.Writer, o WriteOptions) (Manifest, error) {
	var closeAll []func() error
	if o.Key != nil {
		encrypted, err := encrypt(w, o.Key)
		if err != nil {
			return Manifest{}, err
		}
		w = encrypted
		closeAll = append(closeAll, encrypted.Close)
	}
	compressor, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return Manifest{}, err
	}
	a := &archiveWriter{
		ctx: ctx, options: o, tar: tar.NewWriter(w), compressor: compressor, kinds: archive.Kinds(),
		manifest: Manifest{Header: Header{Format: Format, ID: newid.New(), Program: o.Program, Store: o.Store, CreatedAt: o.Clock.Now()}},
	}
	closeAll = append(closeAll, a.tar.Close)
	if err := a.run(); err != nil {
		return Manifest{}, err
	}
	// The tar's end, then the encryption's.
	for i := len(closeAll) - 1; i >= 0; i-- {
		if err := closeAll[i](); err != nil {
			return Manifest{}, err
		}
	}
	return a.manifest, nil
}

// archiveWriter writes one archive.
type archiveWriter struct {
	ctx        context.Context
	options    WriteOptions
	tar        *tar.Writer
	compressor *zstd.Encoder
	kinds      []string
	manifest   Manifest

	// at is the kind that is written; stream, sum and digest are its.
	at     int
	bytes  int64
	sum    hash.Hash
	digest digest
	lines  []byte
	logs   []hearth.LogEntry
	coder  logEncoder
	pieces int
	total  int64
	// rested is when the last rest ended.
	rested time.Time
	// packed is the memory of a compressed piece.
	packed []byte
}

func (a *archiveWriter) run() error {
	if err := a.document(headerName, a.manifest.Header); err != nil {
		return err
	}
	if err := a.member(settingsName, []byte(a.options.Settings)); err != nil {
		return err
	}
	a.begin(0)
	a.rested = time.Now()
	for part, err := range a.options.From.Archive(a.ctx) {
		if err != nil {
			return err
		}
		if err := a.part(&part); err != nil {
			return err
		}
	}
	for a.at < len(a.kinds) {
		if err := a.end(); err != nil {
			return err
		}
	}
	return a.document(manifestName, a.manifest)
}

// document adds a member of JSON that people can read.
func (a *archiveWriter) document(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return a.member(name, append(text, '\n'))
}

func (a *archiveWriter) begin(at int) {
	a.at, a.bytes, a.sum, a.digest = at, 0, sha256.New(), digest{}
}

// end writes what is left of the kind, sums it up and goes on to the next.
func (a *archiveWriter) end() error {
	if err := errors.Join(a.flushLines(), a.flushLogs()); err != nil {
		return err
	}
	a.manifest.Streams = append(a.manifest.Streams, Stream{
		Name: a.kinds[a.at], Records: a.digest.records, Bytes: a.bytes, SHA256: hex.EncodeToString(a.sum.Sum(nil)), Digest: a.digest.String(),
	})
	a.begin(a.at + 1)
	return nil
}

func (a *archiveWriter) part(part *archive.Part) error {
	at, err := kindAt(a.kinds, part)
	if err != nil || part.Len() == 0 {
		return err
	}
	if at < a.at {
		return fmt.Errorf("the store returned records of %s after those of %s", part.Kind, a.kinds[a.at])
	}
	for a.at < at {
		if err := a.end(); err != nil {
			return err
		}
	}
	a.total += int64(part.Len())
	switch {
	case part.Kind != archive.LogsKind:
		for _, line := range part.Lines {
			a.digest.add(line)
			a.lines = append(a.lines, line...)
		}
		if len(a.lines) >= linesPiece {
			if err := a.flushLines(); err != nil {
				return err
			}
		}
	case len(a.logs) == 0 && len(part.Logs) == archive.MaxPart:
		if err := a.block(part.Logs); err != nil {
			return err
		}
	default:
		a.logs = append(a.logs, part.Logs...)
		for len(a.logs) >= archive.MaxPart {
			if err := a.block(a.logs[:archive.MaxPart]); err != nil {
				return err
			}
			a.logs = a.logs[:copy(a.logs, a.logs[archive.MaxPart:])]
		}
	}
	if a.options.Progress != nil {
		a.options.Progress(Progress{Step: "writing", Records: a.total})
	}
	return a.rest()
}

// rest lets others go first for as long as the work since the last rest took. A busy machine makes both longer.
func (a *archiveWriter) rest() error {
	length := min(time.Since(a.rested), a.options.Rest)
	if length < minRest {
		return a.ctx.Err()
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.ctx.Done():
	}
	a.rested = time.Now()
	return a.ctx.Err()
}

// minRest is the shortest rest that is worth one.
const minRest = time.Millisecond

func (a *archiveWriter) flushLines() error {
	if len(a.lines) == 0 {
		return nil
	}
	err := a.piece(linesSuffix, a.lines)
	a.lines = a.lines[:0]
	return err
}

func (a *archiveWriter) flushLogs() error {
	if len(a.logs) == 0 {
		return nil
	}
	err := a.block(a.logs)
	a.logs = a.logs[:0]
	return err
}

func (a *archiveWriter) block(entries []hearth.LogEntry) error {
	a.digest.addLogs(entries)
	a.lines = a.coder.encode(a.lines[:0], entries)
	err := a.piece(blockSuffix, a.lines)
	a.lines = a.lines[:0]
	return err
}

// piece writes a piece of the stream as a member.
func (a *archiveWriter) piece(suffix string, content []byte) error {
	a.bytes += int64(len(content))
	_, _ = a.sum.Write(content) // a hash never fails
	a.packed = a.compressor.EncodeAll(content, a.packed[:0])
	a.pieces++
	return a.member(pieceName(a.pieces, a.kinds[a.at], suffix), a.packed)
}

func pieceName(number int, stream, suffix string) string {
	return fmt.Sprintf("%s%06d-%s%s", piecesDir, number, stream, suffix)
}

func (a *archiveWriter) member(name string, content []byte) error {
	err := a.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o600, ModTime: a.manifest.CreatedAt.Truncate(time.Second), Format: tar.FormatPAX,
	})
	if err != nil {
		return err
	}
	_, err = a.tar.Write(content)
	return err
}
