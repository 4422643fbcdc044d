package packet

import (
	"fmt"
	"testing"
)

// Log and status use the wording of RFC 2332, in lower case except for acronyms.
func TestNames(t *testing.T) {
	tests := []struct {
		value fmt.Stringer
		want  string
	}{
		{ResolutionRequest, "resolution request"},
		{ResolutionReply, "resolution reply"},
		{RegistrationRequest, "registration request"},
		{RegistrationReply, "registration reply"},
		{PurgeRequest, "purge request"},
		{PurgeReply, "purge reply"},
		{ErrorIndication, "error indication"},
		{TrafficIndication, "traffic indication"},
		{Type(200), "message of type 200"},
		{CodeSuccess, "success"},
		{CodeProhibited, "administratively prohibited"},
		{CodeInsufficientResources, "insufficient resources"},
		{CodeNoBinding, "no internetworking layer address to NBMA address binding exists"},
		{CodeNotUnique, "binding exists but is not unique"},
		{CodeUniqueRegistered, "unique internetworking layer address already registered"},
		{Code(11), "unknown code 11"},
		{ErrorUnrecognizedExtension, "unrecognized extension"},
		{ErrorLoop, "NHRP loop detected"},
		{ErrorProtocolUnreachable, "protocol address unreachable"},
		{ErrorProtocol, "protocol error"},
		{ErrorSDUSizeExceeded, "NHRP SDU size exceeded"},
		{ErrorInvalidExtension, "invalid extension"},
		{ErrorInvalidResolutionReply, "invalid NHRP resolution reply received"},
		{ErrorAuthentication, "authentication failure"},
		{ErrorHopCount, "hop count exceeded"},
		{ErrorCode(2), "unknown error 2"},
		{ExtensionEnd, "end of extensions"},
		{ExtensionResponder, "responder address"},
		{ExtensionForwardTransit, "forward transit NHS record"},
		{ExtensionReverseTransit, "reverse transit NHS record"},
		{ExtensionAuthentication, "authentication"},
		{ExtensionVendor, "vendor-private"},
		{ExtensionNATAddress, "NAT address"},
		{ExtensionType(6), "type 6"},
	}
	for _, test := range tests {
		if got := test.value.String(); got != test.want {
			t.Errorf("%T is %q, want %q", test.value, got, test.want)
		}
	}
}

// Three types are requests and three are their replies; indications are neither.
func TestRequestsAndReplies(t *testing.T) {
	for typ := Type(0); typ < 10; typ++ {
		request := typ == 1 || typ == 3 || typ == 5
		reply := typ == 2 || typ == 4 || typ == 6
		if typ.IsRequest() != request || typ.IsReply() != reply {
			t.Errorf("%v: request %v, reply %v", typ, typ.IsRequest(), typ.IsReply())
		}
	}
}

// Each type of messages has a name of one word that leads back to it. Other words are refused, with
// the names that there are.
func TestTypeNamed(t *testing.T) {
	for want := ResolutionRequest; want <= TrafficIndication; want++ {
		if got, err := TypeNamed(want.word()); got != want || err != nil {
			t.Errorf("%s is %v, %v", want.word(), got, err)
		}
	}
	const list = `there is no type of messages "reply", but resolution-request, ` +
		"resolution-reply, registration-request, registration-reply, purge-request, " +
		"purge-reply, error-indication, traffic-indication"
	if _, err := TypeNamed("reply"); err == nil || err.Error() != list {
		t.Errorf("got %v", err)
	}
}

// A packet tells its type also where it is not valid, unless it is too short.
func TestTypeOf(t *testing.T) {
	header := make([]byte, offType+1)
	header[offType] = byte(PurgeReply)
	if got := TypeOf(header); got != PurgeReply {
		t.Errorf("a header has the type %v", got)
	}
	if got := TypeOf(header[:offType]); got != 0 {
		t.Errorf("a header that ends before its type has the type %v", got)
	}
}
