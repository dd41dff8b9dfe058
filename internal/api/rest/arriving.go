package rest

import (
	"bytes"
	"io"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"hearth"
)

const (
	// readAhead is how much of a body is read at once.
	readAhead = 32 << 10
	// maxUnread is how much of a body a value, or the space in front of it, may take before it is read no further.
	maxUnread = 2 * maxJSONText
)

// arriving is a long body that is checked while it is read: what is refused costs what was read until then. It is the reader of its decoder.
type arriving struct {
	from      io.Reader
	announced int64 // its length, 0 where the request does not say
	read      []byte
	passed    int // of read, to the decoder
	ended     bool
	decoder   *jsontext.Decoder
	// err is why no more was passed to the decoder.
	err error
}

// more reads more of the body.
func (a *arriving) more() error {
	if len(a.read) == cap(a.read) {
		room := bytes.MinRead + 3*len(a.read)
		if a.announced > 0 {
			// What was read has passed the check so far, and memory for the rest was admitted.
			room = max(1, int(a.announced)+1-len(a.read))
		}
		a.read = slices.Grow(a.read, room)
	}
	n, err := a.from.Read(a.read[len(a.read):min(cap(a.read), len(a.read)+readAhead)])
	a.read = a.read[:len(a.read)+n]
	if err == io.EOF {
		a.ended, err = true, nil
	}
	return err
}

// check has the body read to its end by a check. Errors are the check's, and those of reading.
func (a *arriving) check(check func(*jsontext.Decoder) error) error {
	a.decoder = jsontext.NewDecoder(a, jsontext.AllowDuplicateNames(true))
	err := check(a.decoder)
	if a.err != nil {
		return a.err
	}
	return err
}

// Read implements io.Reader, for the decoder.
func (a *arriving) Read(p []byte) (int, error) {
	for a.passed == len(a.read) {
		switch done := a.decoder.InputOffset(); {
		case a.ended:
			return 0, io.EOF
		case int64(a.passed)-done > maxUnread:
			a.err = a.tooLong(a.read[done:])
		default:
			a.err = a.more()
		}
		if a.err != nil {
			return 0, a.err
		}
	}
	n := copy(p, a.read[a.passed:])
	a.passed += n
	return n, nil
}

// orTooLarge returns the error of a body that is larger than is allowed, else err: a size that was not announced is known at the end.
func (a *arriving) orTooLarge(err error) error {
	if a.announced > 0 || a.ended {
		return err
	}
	a.read = nil
	if _, tooLarge := io.Copy(io.Discard, a.from); tooLarge != nil {
		return tooLarge
	}
	return err
}

// tooLong refuses what the decoder is in the middle of.
func (a *arriving) tooLong(unread []byte) error {
	what := "has more than " + strconv.Itoa(maxJSONText) + " bytes"
	kind, length := a.decoder.StackIndex(a.decoder.StackDepth())
	place := jsonPlace(a.decoder)
	if length > 0 && (kind == '[' || length%2 == 0) {
		place = parentPlace(a.decoder)
	}
	switch {
	case len(bytes.TrimLeft(unread, " \t\r\n,:")) < maxJSONText:
		what = "has more than " + strconv.Itoa(maxJSONText) + " bytes of space"
	case kind == '[':
		place += "[" + strconv.FormatInt(length, 10) + "]"
	case kind == '{' && length%2 == 0:
		what = "has a name of more than " + strconv.Itoa(maxJSONText) + " bytes"
	}
	return hearth.Invalid(hearth.FieldError{Location: place, Message: what})
}
