package dialect

import (
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"hearth"
)

// The datatypes of Sparkplug B that hearth writes or reads in their own way.
const (
	sparkInt8    = 1
	sparkInt64   = 4
	sparkUInt8   = 5
	sparkUInt64  = 8
	sparkFloat   = 9
	sparkDouble  = 10
	sparkBoolean = 11
	sparkString  = 12
	sparkDate    = 13
)

// sparkPayload is a payload of Sparkplug B, as far as hearth reads it.
type sparkPayload struct {
	timestamp uint64
	seq       uint64
	hasSeq    bool
	metrics   []sparkRead
}

// sparkRead is a metric of a payload.
type sparkRead struct {
	name      string
	alias     uint64
	hasAlias  bool
	timestamp uint64
	datatype  uint64
	null      bool
	// kind is the field that has the value; 0: none that hearth reads.
	kind    protowire.Number
	integer uint64
	float   float64
	text    string
}

// The fields of a metric that hold a value.
const (
	fieldInt     protowire.Number = 10
	fieldLong    protowire.Number = 11
	fieldFloat   protowire.Number = 12
	fieldDouble  protowire.Number = 13
	fieldBoolean protowire.Number = 14
	fieldString  protowire.Number = 15
)

var errSparkplug = errors.New("the payload is not one of Sparkplug B")

// fields calls do with each field of a message: a number for varints and fixed ones, else the bytes.
func fields(message []byte, do func(field protowire.Number, number uint64, bytes []byte) error) error {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errSparkplug
		}
		message = message[n:]
		var number uint64
		var bytes []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			var short uint32
			short, n = protowire.ConsumeFixed32(message)
			number = uint64(short)
		case protowire.Fixed64Type:
			number, n = protowire.ConsumeFixed64(message)
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(field, kind, message)
		}
		if n < 0 {
			return errSparkplug
		}
		message = message[n:]
		if err := do(field, number, bytes); err != nil {
			return err
		}
	}
	return nil
}

// decodeSparkplug reads a payload.
func decodeSparkplug(message []byte) (payload sparkPayload, err error) {
	err = fields(message, func(field protowire.Number, number uint64, bytes []byte) error {
		switch field {
		case 1:
			payload.timestamp = number
		case 2:
			if len(payload.metrics) == maxReadings {
				return errors.New("the payload has more than 2000 metrics")
			}
			metric, err := decodeMetric(bytes)
			payload.metrics = append(payload.metrics, metric)
			return err
		case 3:
			payload.seq, payload.hasSeq = number, true
		}
		return nil
	})
	return payload, err
}

func decodeMetric(message []byte) (m sparkRead, err error) {
	err = fields(message, func(field protowire.Number, number uint64, bytes []byte) error {
		switch field {
		case 1:
			m.name = string(bytes)
			if !utf8.Valid(bytes) || len(bytes) > 4*hearth.MaxText {
				return errSparkplug
			}
		case 2:
			m.alias, m.hasAlias = number, true
		case 3:
			m.timestamp = number
		case 4:
			m.datatype = number
		case 7:
			m.null = number != 0
		case fieldInt, fieldLong, fieldBoolean:
			m.kind, m.integer = field, number
		case fieldFloat:
			m.kind, m.float = field, float64(math.Float32frombits(uint32(number)))
		case fieldDouble:
			m.kind, m.float = field, math.Float64frombits(number)
		case fieldString:
			m.kind, m.text = field, string(bytes)
		}
		return nil
	})
	return m, err
}

// decoded returns the value of a metric of that datatype. Signed integers come as unsigned ones of the same bits.
func (m sparkRead) decoded(datatype uint64) (hearth.Value, bool) {
	switch m.kind {
	case fieldBoolean:
		return hearth.Boolean(m.integer != 0), true
	case fieldFloat:
		return rounded(m.float)
	case fieldDouble:
		return finite(m.float)
	case fieldString:
		return hearth.Text(m.text), hearth.ValidText(m.text)
	case fieldInt, fieldLong:
	default:
		return hearth.Value{}, false
	}
	switch {
	case datatype >= sparkInt8 && datatype < sparkInt64 && m.kind == fieldInt:
		return hearth.Number(float64(int32(uint32(m.integer)))), true
	case datatype >= sparkInt8 && datatype <= sparkInt64:
		return hearth.Number(float64(int64(m.integer))), true
	case datatype == sparkBoolean:
		return hearth.Boolean(m.integer != 0), true
	}
	return hearth.Number(float64(m.integer)), true
}

// rounded returns a number of 32 bits with the digits that it has: 71.1, not 71.0999984741211.
func rounded(n float64) (hearth.Value, bool) {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return hearth.Value{}, false
	}
	return number(strconv.FormatFloat(n, 'g', -1, 32))
}

// sparkValue is a metric to write.
type sparkValue struct {
	name     string
	datatype uint64
	value    any // a bool, a string or a float64
}

// encodeSparkplug returns a payload with metrics. A time of zero is left out.
func encodeSparkplug(at time.Time, metrics ...sparkValue) (message []byte) {
	if !at.IsZero() {
		message = protowire.AppendTag(message, 1, protowire.VarintType)
		message = protowire.AppendVarint(message, uint64(at.UnixMilli()))
	}
	for _, m := range metrics {
		inner := protowire.AppendTag(nil, 1, protowire.BytesType)
		inner = protowire.AppendString(inner, m.name)
		inner = protowire.AppendTag(inner, 4, protowire.VarintType)
		inner = protowire.AppendVarint(inner, m.datatype)
		inner = m.appendValue(inner)
		message = protowire.AppendTag(message, 2, protowire.BytesType)
		message = protowire.AppendBytes(message, inner)
	}
	return message
}

func (m sparkValue) appendValue(message []byte) []byte {
	switch v := m.value.(type) {
	case bool:
		message = protowire.AppendTag(message, fieldBoolean, protowire.VarintType)
		return protowire.AppendVarint(message, protowire.EncodeBool(v))
	case string:
		message = protowire.AppendTag(message, fieldString, protowire.BytesType)
		return protowire.AppendString(message, v)
	case float64:
		return m.appendNumber(message, v)
	}
	return message
}

func (m sparkValue) appendNumber(message []byte, n float64) []byte {
	whole := int64(max(min(n, math.MaxInt64/2), math.MinInt64/2))
	switch {
	case m.datatype == sparkFloat:
		message = protowire.AppendTag(message, fieldFloat, protowire.Fixed32Type)
		return protowire.AppendFixed32(message, math.Float32bits(float32(n)))
	case m.datatype == sparkInt64 || m.datatype == sparkUInt64 || m.datatype == sparkDate:
		message = protowire.AppendTag(message, fieldLong, protowire.VarintType)
		return protowire.AppendVarint(message, uint64(whole))
	case m.datatype >= sparkInt8 && m.datatype < sparkInt64 || m.datatype >= sparkUInt8 && m.datatype < sparkUInt64:
		message = protowire.AppendTag(message, fieldInt, protowire.VarintType)
		return protowire.AppendVarint(message, uint64(uint32(whole)))
	}
	message = protowire.AppendTag(message, fieldDouble, protowire.Fixed64Type)
	return protowire.AppendFixed64(message, math.Float64bits(n))
}
