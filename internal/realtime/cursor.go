package realtime

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/maphash"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/centrifugal/centrifuge"
)

// The id of an SSE event is the position of its stream in all of its channels: a client that comes back with the last id
// it saw misses nothing and gets nothing twice. In base64url:
//
//	version | number of epochs | (length, epoch)… | number of channels | (hash of the channel, epoch's index, offset)… | MAC
//
// Numbers are varints, the hash 8 bytes, the MAC the first 16 bytes of HMAC-SHA-256. It holds no name and grants nothing:
// the channels of a request are authorized anew. The MAC keeps clients from relying on made-up positions.
const (
	cursorVersion = 1
	cursorMAC     = 16
	// maxCursor bounds an id, in characters. 101 channels with one epoch take less than 2,000.
	maxCursor = 4096
)

type channelHash [8]byte

func hashChannel(channel string) channelHash {
	sum := sha256.Sum256([]byte(channel))
	return channelHash(sum[:8])
}

// cursors writes and reads ids.
type cursors struct {
	key []byte
	// shared are ids that were written lately, each in a slot that its bytes choose: the streams of one user that follow
	// the same channels have the same positions, so that one signature serves all.
	shared *[sharedIDs]atomic.Pointer[signedID]
	seed   maphash.Seed
}

// sharedIDs is how many ids are remembered: more channels than one moment publishes to.
const sharedIDs = 256

// signedID is what an id says, and the id.
type signedID struct {
	raw  []byte
	text []byte
}

func newCursors(key []byte) cursors {
	if len(key) == 0 {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
	}
	return cursors{key: key, shared: new([sharedIDs]atomic.Pointer[signedID]), seed: maphash.MakeSeed()}
}

// channelPosition is the position of a stream in one channel.
type channelPosition struct {
	channel  string
	hash     channelHash
	position centrifuge.StreamPosition
}

// cursorWriter writes the ids of one stream; its buffers are used again.
type cursorWriter struct {
	of     cursors
	mac    hash.Hash
	epochs []string
	raw    []byte
}

func (c cursors) writer() *cursorWriter {
	return &cursorWriter{of: c, mac: hmac.New(sha256.New, c.key)}
}

// append appends the id of the positions, at most 255 of each kind.
func (w *cursorWriter) append(out []byte, positions []channelPosition) []byte {
	w.epochs = w.epochs[:0]
	for _, p := range positions {
		if !slices.Contains(w.epochs, p.position.Epoch) {
			w.epochs = append(w.epochs, p.position.Epoch)
		}
	}
	raw := append(w.raw[:0], cursorVersion)
	raw = binary.AppendUvarint(raw, uint64(len(w.epochs)))
	for _, epoch := range w.epochs {
		raw = binary.AppendUvarint(raw, uint64(len(epoch)))
		raw = append(raw, epoch...)
	}
	raw = binary.AppendUvarint(raw, uint64(len(positions)))
	for _, p := range positions {
		raw = append(raw, p.hash[:]...)
		raw = binary.AppendUvarint(raw, uint64(slices.Index(w.epochs, p.position.Epoch)))
		raw = binary.AppendUvarint(raw, p.position.Offset)
	}
	w.raw = raw
	slot := &w.of.shared[maphash.Bytes(w.of.seed, raw)%sharedIDs]
	if known := slot.Load(); known != nil && bytes.Equal(known.raw, raw) {
		return append(out, known.text...)
	}
	w.mac.Reset()
	w.mac.Write(raw)
	length, start := len(raw), len(out)
	raw = w.mac.Sum(raw)[:length+cursorMAC]
	w.raw = raw
	out = base64.RawURLEncoding.AppendEncode(out, raw)
	slot.Store(&signedID{raw: bytes.Clone(raw[:length]), text: bytes.Clone(out[start:])})
	return out
}

// read returns the positions of an id. ok is false for one that is forged, malformed or another key's.
func (c cursors) read(id string) (positions map[channelHash]centrifuge.StreamPosition, ok bool) {
	if len(id) > maxCursor {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(raw) < 1+cursorMAC || raw[0] != cursorVersion {
		return nil, false
	}
	body, sum := raw[:len(raw)-cursorMAC], raw[len(raw)-cursorMAC:]
	mac := hmac.New(sha256.New, c.key)
	mac.Write(body)
	if !hmac.Equal(mac.Sum(nil)[:cursorMAC], sum) {
		return nil, false
	}
	return parsePositions(body[1:])
}

// parsePositions reads what append wrote. It trusts nothing: a key may have signed for another version.
func parsePositions(body []byte) (map[channelHash]centrifuge.StreamPosition, bool) {
	failed := false
	number := func() uint64 {
		value, size := binary.Uvarint(body)
		if size <= 0 {
			failed, body = true, nil
			return 0
		}
		body = body[size:]
		return value
	}
	take := func(size uint64) []byte {
		if size > uint64(len(body)) {
			failed, body = true, nil
			return make([]byte, min(size, 8))
		}
		part := body[:size]
		body = body[size:]
		return part
	}
	epochs := make([]string, 0, 1)
	for range min(number(), maxCursor) {
		epochs = append(epochs, string(take(number())))
		if failed {
			return nil, false
		}
	}
	positions := map[channelHash]centrifuge.StreamPosition{}
	for range min(number(), maxCursor) {
		channel := channelHash(take(8))
		epoch, offset := number(), number()
		if failed || epoch >= uint64(len(epochs)) {
			return nil, false
		}
		positions[channel] = centrifuge.StreamPosition{Offset: offset, Epoch: epochs[epoch]}
	}
	return positions, !failed && len(body) == 0
}

// sortedPositions returns the positions of the channels in a fixed order.
func sortedPositions(positions map[string]centrifuge.StreamPosition) []channelPosition {
	sorted := make([]channelPosition, 0, len(positions))
	for _, channel := range slices.Sorted(maps.Keys(positions)) {
		sorted = append(sorted, channelPosition{channel: channel, hash: hashChannel(channel), position: positions[channel]})
	}
	return sorted
}
