package hearth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// decodeObject returns a JSON object; nil for anything else.
func decodeObject(text json.RawMessage) (object map[string]any) {
	if len(text) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&object) != nil || len(bytes.TrimSpace(text[decoder.InputOffset():])) > 0 {
		return nil
	}
	return object
}

func encodeObject(object map[string]any) json.RawMessage {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		panic("hearth: a decoded object always encodes: " + err.Error())
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// checkJSON says what is wrong with a decoded value whose objects and arrays, at that level, may stand in one another so often;
// "" if nothing is. A number is kept as it was written; what no float64 holds would be read differently by each client.
func checkJSON(value any, level, most int) (problem string) {
	inner := func(value any) bool {
		if problem == "" {
			problem = checkJSON(value, level+1, most)
		}
		return problem == ""
	}
	switch value := value.(type) {
	case map[string]any:
		if level > most {
			return fmt.Sprintf("is nested more than %d deep", most)
		}
		for _, member := range value {
			if !inner(member) {
				break
			}
		}
	case []any:
		if level > most {
			return fmt.Sprintf("is nested more than %d deep", most)
		}
		for _, item := range value {
			if !inner(item) {
				break
			}
		}
	case json.Number:
		number, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			return "has a number that is too large"
		}
		if digits, _ := decimal(value); number == 0 && digits != "" {
			return "has a number that is too close to zero"
		}
	}
	return problem
}

// decimal returns a number that a float64 can hold as its digits, without zeros at either end and with a sign, and the power of
// ten that they are multiplied by; "" and 0 for zero.
func decimal(number json.Number) (digits string, exponent int) {
	text, negative := strings.CutPrefix(string(number), "-")
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		exponent, _ = strconv.Atoi(text[at+1:]) // out of range only where the digits are zeros
		text = text[:at]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	switch {
	case trimmed == "":
		return "", 0
	case negative:
		return "-" + trimmed, exponent
	}
	return trimmed, exponent
}
