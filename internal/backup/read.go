package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"hearth"
	"hearth/internal/store/archive"
	"hearth/internal/store/record"
)

// What a member of an archive may have: more is damage.
const (
	maxMember = 256 << 20
	maxPiece  = 512 << 20
	// partLines bounds the records other than logs that are given at once.
	partLines = 1000
)

// ReadOptions say how an archive is read.
type ReadOptions struct {
	// Keys decrypt an encrypted archive: the one that fits does.
	Keys [][]byte
	// Part, if not nil, is given the records, in parts of one kind. Only when Read has returned without an error is it sure that
	// they are as they were written.
	Part func(archive.Part) error
	// Progress, if not nil, is told now and then how far the reading is.
	Progress func(Progress)
}

// Read reads an archive to its end and checks all of it: sums, numbers of records, and the audit's chain. ErrDamaged if
// anything is not as it was written.
func Read(ctx context.Context, r io.Reader, o ReadOptions) (Manifest, error) {
	plain, err := decrypt(r, o.Keys)
	if err != nil {
		return Manifest{}, err
	}
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPiece))
	if err != nil {
		return Manifest{}, err
	}
	defer unpacker.Close()
	a := &archiveReader{ctx: ctx, options: o, source: plain, tar: tar.NewReader(plain), unpacker: unpacker, kinds: archive.Kinds(), sum: sha256.New()}
	if err := a.run(); err != nil {
		return Manifest{}, err
	}
	return a.manifest, nil
}

// archiveReader reads one archive.
type archiveReader struct {
	ctx      context.Context
	options  ReadOptions
	source   io.Reader
	tar      *tar.Reader
	unpacker *zstd.Decoder
	kinds    []string
	header   Header
	manifest Manifest

	// at is the kind that is read; bytes, sum and digest are its, found those of the kinds before.
	at     int
	bytes  int64
	sum    hash.Hash
	digest digest
	found  []Stream
	pieces int
	total  int64
	head   hearth.AuditHead
	// untrimmed is the number of an entry that is missing at the beginning of the audit and that no entry so far says was trimmed.
	untrimmed int64
	plain     []byte
}

func (a *archiveReader) run() error {
	content, err := a.expect(headerName)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, &a.header); err != nil {
		return damaged("its header: %v", err)
	}
	if err := a.header.check(); err != nil {
		return err
	}
	if _, err := a.expect(settingsName); err != nil {
		return err
	}
	for {
		name, content, err := a.next()
		if err != nil {
			return err
		}
		if name == manifestName {
			return a.finish(content)
		}
		if err := a.piece(name, content); err != nil {
			return err
		}
	}
}

// next returns the next member.
func (a *archiveReader) next() (name string, content []byte, err error) {
	if err := a.ctx.Err(); err != nil {
		return "", nil, err
	}
	member, err := a.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return "", nil, damaged("it ends before its manifest")
	case err != nil:
		return "", nil, a.readError(err)
	case member.Typeflag != tar.TypeReg || member.Size > maxMember:
		return "", nil, damaged("the member %q", member.Name)
	}
	content, err = io.ReadAll(a.tar)
	if err != nil {
		return "", nil, a.readError(err)
	}
	return member.Name, content, nil
}

// readError tells damage from a source that cannot be read.
func (a *archiveReader) readError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrFieldTooLong) {
		return damaged("%v", err)
	}
	return err
}

func (a *archiveReader) expect(name string) ([]byte, error) {
	found, content, err := a.next()
	if err != nil {
		return nil, err
	}
	if found != name {
		return nil, damaged("it has %q where %s should be", found, name)
	}
	return content, nil
}

// piece reads a piece of a stream.
func (a *archiveReader) piece(name string, content []byte) error {
	a.pieces++
	at := slices.IndexFunc(a.kinds, func(kind string) bool {
		if kind == archive.LogsKind {
			return name == pieceName(a.pieces, kind, blockSuffix)
		}
		return name == pieceName(a.pieces, kind, linesSuffix)
	})
	if at < a.at {
		return damaged("it has %q as piece %d", name, a.pieces)
	}
	for a.at < at {
		a.end()
	}
	var err error
	if a.plain, err = a.unpacker.DecodeAll(content, a.plain[:0]); err != nil {
		return damaged("%s: %v", name, err)
	}
	a.bytes += int64(len(a.plain))
	_, _ = a.sum.Write(a.plain) // a hash never fails
	if a.kinds[at] == archive.LogsKind {
		entries, err := decodeLogs(a.plain)
		if err != nil {
			return err
		}
		a.digest.addLogs(entries)
		return a.give(archive.Part{Kind: archive.LogsKind, Logs: entries})
	}
	return a.lines(a.plain)
}

// lines gives the records of a piece, written as this program writes them.
func (a *archiveReader) lines(piece []byte) error {
	part := archive.Part{Kind: a.kinds[a.at]}
	for len(piece) > 0 {
		end := bytes.IndexByte(piece, '\n') + 1
		if end == 0 {
			return damaged("a line of %s does not end", part.Kind)
		}
		a.digest.add(piece[:end])
		r, err := archive.Decode(part.Kind, piece[:end])
		if err != nil {
			return damaged("a record of %s: %v", part.Kind, err)
		}
		if err := a.checkChain(part.Kind, r); err != nil {
			return err
		}
		line, err := archive.Encode(nil, r)
		if err != nil {
			return err
		}
		piece = piece[end:]
		if part.Lines = append(part.Lines, line); len(part.Lines) == partLines {
			if err := a.give(part); err != nil {
				return err
			}
			part.Lines = nil
		}
	}
	return a.give(part)
}

// checkChain refuses an audit entry that does not follow the one before.
func (a *archiveReader) checkChain(kind string, r any) error {
	if kind != archive.AuditKind {
		return nil
	}
	e := record.AuditEntries([]any{r})[0]
	if a.head.Seq == 0 && e.Seq > 1 { // those before were trimmed, which an entry must say
		a.head = hearth.AuditHead{Seq: e.Seq - 1, Hash: e.PrevHash}
		a.untrimmed = e.Seq - 1
	}
	if last, ok := e.Trimmed(); ok && last.Seq >= a.untrimmed {
		a.untrimmed = 0
	}
	if e.Seq != a.head.Seq+1 || e.PrevHash != a.head.Hash || e.Sum() != e.Hash {
		return damaged("audit entry %d was changed, or one before it is missing", e.Seq)
	}
	a.head = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
	return nil
}

func (a *archiveReader) give(part archive.Part) error {
	if part.Len() == 0 {
		return nil
	}
	a.total += int64(part.Len())
	if a.options.Part != nil {
		if err := a.options.Part(part); err != nil {
			return err
		}
	}
	if a.options.Progress != nil {
		a.options.Progress(Progress{Step: "reading", Records: a.total})
	}
	return nil
}

// end sums up the kind and goes on to the next.
func (a *archiveReader) end() {
	a.found = append(a.found, Stream{
		Name: a.kinds[a.at], Records: a.digest.records, Bytes: a.bytes, SHA256: hex.EncodeToString(a.sum.Sum(nil)), Digest: a.digest.String(),
	})
	a.at, a.bytes, a.digest = a.at+1, 0, digest{}
	a.sum.Reset()
}

// finish holds what was read against the manifest, and reads the archive to its very end.
func (a *archiveReader) finish(content []byte) error {
	for a.at < len(a.kinds) {
		a.end()
	}
	if a.untrimmed > 0 {
		return damaged("audit entry %d is missing", a.untrimmed)
	}
	if err := json.Unmarshal(content, &a.manifest); err != nil {
		return damaged("its manifest: %v", err)
	}
	if a.manifest.ID != a.header.ID || a.manifest.Format != a.header.Format {
		return damaged("its manifest is another archive's")
	}
	var wrong []string
	for _, s := range a.manifest.Streams {
		if !slices.Contains(a.found, s) {
			wrong = append(wrong, s.Name)
		}
	}
	for _, s := range a.found {
		// The archive of an earlier program lacks the kinds that came later.
		if s.Records > 0 && !slices.Contains(a.manifest.Streams, s) {
			wrong = append(wrong, s.Name)
		}
	}
	if len(wrong) > 0 {
		return damaged("its manifest says otherwise of %s", strings.Join(slices.Compact(wrong), ", "))
	}
	if _, err := a.tar.Next(); !errors.Is(err, io.EOF) {
		return damaged("something follows its manifest")
	}
	// The end of an encrypted archive proves that nothing was cut; a tar's is zeros.
	rest, err := io.ReadAll(io.LimitReader(a.source, 1<<20))
	if err != nil {
		return err
	}
	if len(bytes.Trim(rest, "\x00")) > 0 {
		return damaged("something follows its end")
	}
	return nil
}
