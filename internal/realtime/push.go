package realtime

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// pushedEvent is an event on its way to one stream. Its bytes are the push's, which all streams share: they are never written to.
type pushedEvent struct {
	channel, data []byte
	offset        uint64
}

// The fields of centrifuge's Push and Publication that an event has.
const (
	pushChannel, pushPublication       protowire.Number = 2, 4
	publicationData, publicationOffset protowire.Number = 4, 6
)

// readEvent reads an event from a push, without copying any of it: each stream reads each event. ok is false for a push of
// another kind, and for one that holds more than an event does.
func readEvent(push []byte) (event pushedEvent, ok bool) {
	for len(push) > 0 {
		number, kind, size := protowire.ConsumeTag(push)
		if size < 0 || kind != protowire.BytesType || number != pushChannel && number != pushPublication {
			return pushedEvent{}, false
		}
		value, length := protowire.ConsumeBytes(push[size:])
		if length < 0 {
			return pushedEvent{}, false
		}
		if number == pushChannel {
			event.channel = value
		} else if ok = event.readPublication(value); !ok {
			return pushedEvent{}, false
		}
		push = push[size+length:]
	}
	return event, ok
}

// readPublication reports whether the publication is well-formed. What an event of ours never has is passed over.
func (e *pushedEvent) readPublication(publication []byte) bool {
	for len(publication) > 0 {
		number, kind, size := protowire.ConsumeTag(publication)
		if size < 0 {
			return false
		}
		publication = publication[size:]
		var length int
		switch {
		case number == publicationData && kind == protowire.BytesType:
			e.data, length = protowire.ConsumeBytes(publication)
		case number == publicationOffset && kind == protowire.VarintType:
			e.offset, length = protowire.ConsumeVarint(publication)
		default:
			length = protowire.ConsumeFieldValue(number, kind, publication)
		}
		if length < 0 {
			return false
		}
		publication = publication[length:]
	}
	return true
}
