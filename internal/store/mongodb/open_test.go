package mongodb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/testserver"
)

// pretend listens as a server of another make: answer returns what it says to a command. It returns its address.
func pretend(t *testing.T, answer func(command string) bson.D) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			header := make([]byte, 16)
			if _, err := io.ReadFull(in, header); err != nil {
				return
			}
			body := make([]byte, binary.LittleEndian.Uint32(header)-16)
			if _, err := io.ReadFull(in, body); err != nil {
				return
			}
			const opReply, opQuery, opMsg = 1, 2004, 2013
			code := binary.LittleEndian.Uint32(header[12:])
			document := body[5:] // flags and the kind of the section
			if code == opQuery {
				document = body[4+bytes.IndexByte(body[4:], 0)+1+8:] // flags, the collection's name, two numbers
			}
			elements, err := bson.Raw(document[:binary.LittleEndian.Uint32(document)]).Elements()
			if err != nil {
				return
			}
			reply, err := bson.Marshal(answer(elements[0].Key()))
			if err != nil {
				return
			}
			prefix := make([]byte, 5)
			kind := uint32(opMsg)
			if code == opQuery {
				kind, prefix = opReply, make([]byte, 20)
				binary.LittleEndian.PutUint32(prefix[16:], 1)
			}
			out := make([]byte, 16, 16+len(prefix)+len(reply))
			binary.LittleEndian.PutUint32(out, uint32(cap(out)))
			copy(out[8:], header[4:8])
			binary.LittleEndian.PutUint32(out[12:], kind)
			if _, err := conn.Write(append(append(out, prefix...), reply...)); err != nil {
				return
			}
		}
	})
}

// listen serves each connection with serve, until the test ends. It returns the address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			serving.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return listener.Addr().String()
}

// standalone answers the greeting as a server of that wire version, and commands with answer.
func standalone(wire int, answer bson.D) func(string) bson.D {
	return func(command string) bson.D {
		if c := strings.ToLower(command); c == "hello" || c == "ismaster" {
			return bson.D{
				{Key: "ok", Value: 1}, {Key: "ismaster", Value: true}, {Key: "isWritablePrimary", Value: true}, {Key: "helloOk", Value: true},
				{Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: wire}, {Key: "maxBsonObjectSize", Value: 16 << 20},
				{Key: "maxMessageSizeBytes", Value: 48_000_000}, {Key: "maxWriteBatchSize", Value: 100_000}, {Key: "readOnly", Value: false},
			}
		}
		return answer
	}
}

func refusal(code int, name string) bson.D {
	return bson.D{{Key: "ok", Value: 0}, {Key: "errmsg", Value: name}, {Key: "code", Value: code}, {Key: "codeName", Value: name}}
}

// TestOpenSaysWhatToChange: every mistake in the URI or at the server ends the start within 10 s.
func TestOpenSaysWhatToChange(t *testing.T) {
	t.Parallel()
	server := strings.TrimPrefix(testserver.MongoDB(t), "mongodb://")
	nobody := listen(t, func(net.Conn) {})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for name, tt := range map[string]struct{ uri, want string }{
		"no URI":                                  {"", "no URI"},
		"another scheme":                          {"http://localhost/", "not a MongoDB connection string"},
		"an unknown option":                       {"mongodb://localhost/?readPreference=wrong", "cannot be used"},
		"a database of MongoDB":                   {"mongodb://localhost/admin", "keeps for itself"},
		"nothing listens":                         {"mongodb://" + closed.Addr().String() + "/", "nothing listens"},
		"a host that is none":                     {"mongodb://no-such-host.invalid/", "host"},
		"it hangs up":                             {"mongodb://" + listen(t, func(c net.Conn) { _ = c.Close() }) + "/", "hangs up"},
		"it never answers":                        {"mongodb://" + nobody + "/", "no primary of the database answers"},
		"TLS where there is no":                   {"mongodb://" + server + "?tls=true", "take tls=true out"},
		"a replica set that the server is not in": {"mongodb://" + server + "?replicaSet=rs7", "no primary of the database answers"},
		"wrong credentials": {
			"mongodb://user:hunter2@" + pretend(t, standalone(21, refusal(18, "AuthenticationFailed"))) + "/", "credentials",
		},
		"an account without rights": {"mongodb://" + pretend(t, standalone(21, refusal(13, "Unauthorized"))) + "/", "may not use"},
		"a driver's age":            {"mongodb://" + pretend(t, standalone(6, nil)) + "/", "too old"},
		"MongoDB 4.4": {"mongodb://" + pretend(t, standalone(9, bson.D{
			{Key: "ok", Value: 1}, {Key: "version", Value: "4.4.29"}, {Key: "versionArray", Value: bson.A{4, 4, 29, 0}},
		})) + "/", "4.4.29, which is too old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			ctx := t.Context()
			if name != "it never answers" { // one takes its whole time
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 2*time.Second)
				defer cancel()
			}
			s, err := Open(ctx, Options{URI: tt.uri})
			if err == nil {
				_ = s.Close()
				t.Fatal("it opened")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it says: %v", err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestManyInstancesMayStartAtOnce on an empty database.
func TestManyInstancesMayStartAtOnce(t *testing.T) {
	t.Parallel()
	options := Options{URI: testserver.MongoDB(t)}
	var starting sync.WaitGroup
	for range 6 {
		starting.Go(func() {
			s, err := Open(t.Context(), options)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("closing again: %v", err)
			}
			if _, err := s.User(context.Background(), "ann"); hearth.ErrorCode(err) != hearth.CodeUnavailable {
				t.Errorf("a closed store answers %v", err)
			}
		})
	}
	starting.Wait()
	s := openAt(t, options)
	if _, err := s.Collection(collSchema).UpdateOne(t.Context(), steps.ByID("schema"), steps.Set(bson.D{{Key: "version", Value: 99}})); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), options); err == nil || !strings.Contains(err.Error(), "newer than this program") {
		t.Errorf("a schema from the future: %v", err)
	}
}

// TestNumbersAreTakenOnce by many at once.
func TestNumbersAreTakenOnce(t *testing.T) {
	t.Parallel()
	s := openTest(t, nil)
	var mu sync.Mutex
	taken := map[int64]bool{}
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			size := int64(n%3 + 1)
			first, err := s.Take(t.Context(), "test", size)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for i := first; i < first+size; i++ {
				if taken[i] || i < 1 || i > 39 {
					t.Errorf("%d was taken twice, or is out of bounds", i)
				}
				taken[i] = true
			}
		})
	}
	wg.Wait()
	if len(taken) != 39 {
		t.Errorf("%d numbers were taken, want 39", len(taken))
	}
}
