package packet

// property is the identifier of a property of MQTT 5.
type property byte

const (
	propPayloadFormat      property = 0x01
	propMessageExpiry      property = 0x02
	propContentType        property = 0x03
	propResponseTopic      property = 0x08
	propCorrelation        property = 0x09
	propSubscriptionID     property = 0x0B
	propSessionExpiry      property = 0x11
	propAssignedClientID   property = 0x12
	propServerKeepAlive    property = 0x13
	propAuthMethod         property = 0x15
	propAuthData           property = 0x16
	propRequestProblems    property = 0x17
	propWillDelay          property = 0x18
	propRequestResponses   property = 0x19
	propResponseInfo       property = 0x1A
	propServerReference    property = 0x1C
	propReasonString       property = 0x1F
	propReceiveMaximum     property = 0x21
	propTopicAliasMaximum  property = 0x22
	propTopicAlias         property = 0x23
	propMaximumQoS         property = 0x24
	propRetainAvailable    property = 0x25
	propUserProperty       property = 0x26
	propMaximumPacketSize  property = 0x27
	propWildcards          property = 0x28
	propSubscriptionIDs    property = 0x29
	propSharedSubscription property = 0x2A
)

// properties reads the properties of a packet and calls set with each but the user's own, which any packet may have many of. set reports
// whether the packet may have that property with that value.
func (b *body) properties(set func(id property, number uint32, text []byte) bool) {
	of := &body{rest: b.bytes(b.varint())}
	var seen uint64 // by identifier
	for b.err == nil && len(of.rest) > 0 {
		id := property(of.uint8())
		var number uint32
		var text []byte
		switch id {
		case propPayloadFormat, propRequestProblems, propRequestResponses, propMaximumQoS, propRetainAvailable, propWildcards, propSubscriptionIDs,
			propSharedSubscription:
			number = uint32(of.uint8())
		case propReceiveMaximum, propTopicAliasMaximum, propTopicAlias, propServerKeepAlive:
			number = uint32(of.uint16())
		case propMessageExpiry, propSessionExpiry, propWillDelay, propMaximumPacketSize:
			number = of.uint32()
		case propSubscriptionID:
			number = uint32(of.varint())
		case propContentType, propResponseTopic, propAuthMethod, propReasonString, propAssignedClientID, propResponseInfo, propServerReference:
			text = []byte(of.text())
		case propCorrelation, propAuthData:
			text = of.binary()
		case propUserProperty:
			_, _ = of.text(), of.text()
		default:
			of.fail(malformed("a property is unknown"))
		}
		switch {
		case of.err != nil:
			b.fail(of.err)
		case id == propUserProperty:
		case seen&(1<<id) != 0:
			b.fail(protocolError("a property is there twice"))
		case !set(id, number, text):
			b.fail(protocolError("a property is not allowed there"))
		}
		seen |= 1 << id
	}
}
