package rest

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
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

// readJSON reads a body that checkJSON and the schema have passed. What still does not fit is named without its value,
// which the library's texts would repeat.
func readJSON(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	fault := &huma.ErrorDetail{Location: "body", Message: "is not of the documented form"}
	if ours, ok := errors.AsType[*hearth.Error](err); ok {
		fault.Message = ours.Message
	} else if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && mismatch.Field != "" {
		fault.Location += "." + Printable(mismatch.Field)
		fault.Message = "is of another type, or out of range"
	}
	return fault
}
