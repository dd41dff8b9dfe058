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
	Part func(hearth.ArchivePart) error
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
	a := &archiveReader{ctx: ctx, options: o, source: plain, tar: tar.NewReader(plain), unpacker: unpacker, kinds: kinds(), sum: sha256.New()}
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
	kinds    []kind
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
	plain  []byte
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
	at := slices.IndexFunc(a.kinds, func(k kind) bool {
		return name == pieceName(a.pieces, k.name, linesSuffix) && k.lines != nil || name == pieceName(a.pieces, k.name, blockSuffix) && k.lines == nil
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
	if a.kinds[at].lines == nil {
		entries, err := decodeLogs(a.plain)
		if err != nil {
			return err
		}
		a.digest.addLogs(entries)
		return a.give(hearth.ArchivePart{Logs: entries})
	}
	return a.lines(a.plain)
}

func (a *archiveReader) lines(text []byte) error {
	k := &a.kinds[a.at]
	var part hearth.ArchivePart
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n') + 1
		if end == 0 {
			return damaged("a line of %s does not end", k.name)
		}
		line := text[:end]
		text = text[end:]
		a.digest.add(line)
		if err := k.line(line, &part); err != nil {
			return err
		}
		if k.count(&part) == partLines {
			if err := a.give(part); err != nil {
				return err
			}
			part = hearth.ArchivePart{}
		}
	}
	return a.give(part)
}

func (a *archiveReader) give(part hearth.ArchivePart) error {
	_, n := kindOf(a.kinds, &part)
	if n == 0 {
		return nil
	}
	for _, e := range part.Audit {
		if e.Seq != a.head.Seq+1 || e.PrevHash != a.head.Hash || e.Sum() != e.Hash {
			return damaged("audit entry %d was changed, or one before it is missing", e.Seq)
		}
		a.head = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
	}
	a.total += int64(n)
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
		Name: a.kinds[a.at].name, Records: a.digest.records, Bytes: a.bytes, SHA256: hex.EncodeToString(a.sum.Sum(nil)), Digest: a.digest.String(),
	})
	a.at, a.bytes, a.digest = a.at+1, 0, digest{}
	a.sum.Reset()
}

// finish holds what was read against the manifest, and reads the archive to its very end.
func (a *archiveReader) finish(content []byte) error {
	for a.at < len(a.kinds) {
		a.end()
	}
	if err := json.Unmarshal(content, &a.manifest); err != nil {
		return damaged("its manifest: %v", err)
	}
	if a.manifest.ID != a.header.ID || a.manifest.Format != a.header.Format {
		return damaged("its manifest is another archive's")
	}
	var wrong []string
	for i, s := range a.found {
		if i >= len(a.manifest.Streams) || a.manifest.Streams[i] != s {
			wrong = append(wrong, s.Name)
		}
	}
	if len(wrong) > 0 || len(a.manifest.Streams) != len(a.found) {
		return damaged("its manifest says otherwise of %s", strings.Join(wrong, ", "))
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
