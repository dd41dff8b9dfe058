package hearth

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// maxMetadataDepth bounds how deep objects and lists of metadata may be nested.
const maxMetadataDepth = 16

// CanonicalMetadata returns a JSON object in the one form that is stored: keys sorted, no spaces. Nil, an empty text and
// null give nil. What cannot be kept returns the problem instead: a sentence's end, such as "must be an object".
func CanonicalMetadata(raw json.RawMessage) (canonical json.RawMessage, problem string) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, ""
	}
	if raw[0] != '{' {
		return nil, "must be an object"
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value map[string]any
	if err := decoder.Decode(&value); err != nil || decoder.InputOffset() != int64(len(raw)) {
		return nil, "must be an object"
	}
	if problem := checkMetadata(value, maxMetadataDepth); problem != "" {
		return nil, problem
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, "must be an object"
	}
	canonical = bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	if len(canonical) > MaxMetadata {
		return nil, "is larger than 8 KiB"
	}
	return canonical, ""
}

func checkMetadata(value any, depth int) (problem string) {
	if depth == 0 {
		return "is nested more than 16 deep"
	}
	switch value := value.(type) {
	case map[string]any:
		for _, inner := range value {
			if problem := checkMetadata(inner, depth-1); problem != "" {
				return problem
			}
		}
	case []any:
		for _, inner := range value {
			if problem := checkMetadata(inner, depth-1); problem != "" {
				return problem
			}
		}
	case json.Number:
		// The number itself is kept as it was written; what no float64 holds would be read differently by each client.
		if _, err := strconv.ParseFloat(value.String(), 64); err != nil {
			return "has a number that is too large"
		}
	}
	return ""
}
