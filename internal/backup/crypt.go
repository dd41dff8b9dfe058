package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"
)

// An encrypted archive is this line, a line with the key's id, and the archive encrypted by tink's streaming AEAD
// AES256-GCM-HKDF with segments of 1 MiB; both lines are its associated data.
const (
	encryptedMark = "hearth backup, encrypted 1\n"
	segmentSize   = 1 << 20
	keyIDBytes    = 8
	// KeySize is the length of a key in bytes.
	KeySize = 32
)

// keyID names a key without telling of it.
func keyID(key []byte) string {
	sum := sha256.Sum256(append([]byte("hearth backup key id "), key...))
	return hex.EncodeToString(sum[:keyIDBytes])
}

func cipherOf(key []byte) (*subtle.AESGCMHKDF, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a backup key has %d bytes; it needs %d", len(key), KeySize)
	}
	return subtle.NewAESGCMHKDF(key, "SHA256", KeySize, segmentSize, 0)
}

// encrypt returns a writer whose content goes to w encrypted; its Close writes the end, without which nothing reads it.
func encrypt(w io.Writer, key []byte) (io.WriteCloser, error) {
	cipher, err := cipherOf(key)
	if err != nil {
		return nil, err
	}
	head := encryptedMark + keyID(key) + "\n"
	if _, err := io.WriteString(w, head); err != nil {
		return nil, err
	}
	return cipher.NewEncryptingWriter(w, []byte(head))
}

// decrypt returns the archive in r, whether it is encrypted or not.
func decrypt(r io.Reader, keys [][]byte) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	begin, err := in.Peek(len(encryptedMark))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !bytes.Equal(begin, []byte(encryptedMark)) {
		return in, nil
	}
	head := make([]byte, len(encryptedMark)+2*keyIDBytes+1)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, damaged("it ends in its first lines")
	}
	id := string(head[len(encryptedMark) : len(head)-1])
	for _, key := range keys {
		if keyID(key) != id {
			continue
		}
		cipher, err := cipherOf(key)
		if err != nil {
			return nil, err
		}
		plain, err := cipher.NewDecryptingReader(in, head)
		if err != nil {
			return nil, damaged("it ends before its content")
		}
		return decrypted{plain}, nil
	}
	if len(keys) == 0 {
		return nil, errors.New("the archive is encrypted: set backup_key to the key of when it was made")
	}
	return nil, fmt.Errorf("the archive is encrypted with another key (its id is %s) than backup_key holds", id)
}

// decrypted says of bytes that cannot be opened that the archive is damaged: the key is the right one.
type decrypted struct{ io.Reader }

// Read implements io.Reader.
func (d decrypted) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged("encrypted bytes were changed or cut: %v", err)
	}
	return n, err
}
