package devices

import (
	"bytes"
	"encoding/json"

	"hearth"
	"hearth/internal/jsonobject"
)

// maxMetadataDepth bounds how deep objects and lists of metadata may be nested.
const maxMetadataDepth = 16

// maxRawMetadata bounds metadata without spaces that is not canonical: an escape has six bytes in place of one. What is longer is not decoded.
const maxRawMetadata = 6 * hearth.MaxMetadata

const tooMuchMetadata = "is larger than 8 KiB"

// canonicalMetadata returns a JSON object in the one form that is stored: keys sorted, no spaces. Nil, an empty text and
// null give nil. What cannot be kept returns the problem instead: a sentence's end, such as "must be an object".
func canonicalMetadata(raw json.RawMessage) (canonical json.RawMessage, problem string) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, ""
	}
	if len(raw) > maxRawMetadata {
		var compact bytes.Buffer
		if json.Compact(&compact, raw) == nil && compact.Len() > maxRawMetadata {
			return nil, tooMuchMetadata
		}
	}
	value := jsonobject.Decode(raw)
	if value == nil {
		return nil, "must be an object"
	}
	// The innermost value counts as a level.
	if problem := jsonobject.Check(value, 2, maxMetadataDepth); problem != "" {
		return nil, problem
	}
	canonical = jsonobject.Encode(value)
	if len(canonical) > hearth.MaxMetadata {
		return nil, tooMuchMetadata
	}
	return canonical, ""
}
