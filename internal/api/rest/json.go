package rest

import (
	"encoding/json"
	"io"
)

// writeJSON writes an answer.
func writeJSON(w io.Writer, v any) error {
	if appender, ok := v.(jsonAppender); ok {
		buffer := takeBuffer()
		defer buffer.release()
		body, err := appender.appendJSON(buffer.AvailableBuffer())
		if err == nil {
			buffer.Write(append(body, '\n'))
			_, err = w.Write(buffer.Bytes())
		}
		return err
	}
	return newEncoder(w).Encode(v)
}

// newEncoder returns an encoder that leaves <, > and & as they are.
func newEncoder(w io.Writer) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}
