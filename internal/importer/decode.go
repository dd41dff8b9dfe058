package importer

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// decode returns a text in UTF-8. A byte order mark says its encoding, whatever was named; nil is UTF-8. The mark of UTF-8 stays where it is.
func decode(text io.Reader, named encoding.Encoding) (io.Reader, error) {
	buffered := bufio.NewReaderSize(text, 16) // so small that what follows is read past it
	head, err := buffered.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")):
		named = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case bytes.HasPrefix(head, []byte("\xfe\xff")):
		named = unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		named = nil
	}
	if named == nil {
		return buffered, nil
	}
	return transform.NewReader(buffered, named.NewDecoder()), nil
}
