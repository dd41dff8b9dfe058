package redisconn_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"hearth"
	"hearth/internal/redisconn"
	"hearth/internal/testserver"
)

func TestMain(m *testing.M) {
	// The library's clean-up of a cluster's client ends by itself, a second later.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// fake answers each command by its first word, as a server does that will not serve; it returns its address.
func fake(t *testing.T, answers map[string]string) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewReader(conn); ; {
					words, err := readCommand(lines)
					if err != nil {
						return
					}
					answer, ok := answers[strings.ToUpper(words[0])]
					if !ok {
						answer = "+OK"
					}
					if _, err := io.WriteString(conn, answer+"\r\n"); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func readCommand(lines *bufio.Reader) ([]string, error) {
	number := func() (int, error) {
		line, err := lines.ReadString('\n')
		if err != nil || len(line) < 2 {
			return 0, errors.Join(err, io.ErrUnexpectedEOF)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	count, err := number()
	if err != nil {
		return nil, err
	}
	words := make([]string, count)
	for i := range words {
		size, err := number()
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(lines, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:size])
	}
	return words, nil
}

func info(version string) string {
	text := "redis_version:" + version + "\r\nrole:master\r\naof_enabled:1\r\n"
	return fmt.Sprintf("$%d\r\n%s", len(text), text)
}

const (
	hello     = "%1\r\n+version\r\n+7.0.0"
	noCluster = "-ERR This instance has cluster support disabled"
)

func TestAStartThatCannotBeSaysWhatToChange(t *testing.T) {
	t.Parallel()
	guarded := testserver.StartRedis(t, "--requirepass", "right")
	open := testserver.StartRedis(t)
	replica := testserver.StartRedis(t)
	host, port, err := net.SplitHostPort(open.Addr())
	if err != nil {
		t.Fatal(err)
	}
	replica.Do("REPLICAOF", host, port)
	gone := testserver.StartRedis(t)
	gone.Stop()
	hung := testserver.StartRedis(t)
	hung.Hang()
	for name, test := range map[string]struct{ url, want string }{
		"no password":           {guarded.URL(), "asks for a password: put it into the Redis URL"},
		"a wrong password":      {"redis://:wrong@" + guarded.Addr(), "refuses the user name or password of the Redis URL"},
		"a replica":             {replica.URL(), "must name the primary"},
		"no such database":      {"redis://" + open.Addr() + "/99", "has no database of the Redis URL's number"},
		"TLS to a plain server": {"rediss://" + open.Addr(), "must begin with redis://"},
		"nothing listens":       {gone.URL(), "nothing listens at that address"},
		"no answer":             {hung.URL(), "does not answer"},
		"no such host":          {"redis://nowhere.invalid:6379", "is not known by that name"},
		"an old server":         {"redis://" + fake(t, map[string]string{"HELLO": hello, "CLUSTER": noCluster, "INFO": info("5.0.7")}), "is version 5.0.7: 6.2 or newer is needed"},
		"a stray cluster node": {"redis://" + fake(t, map[string]string{
			"HELLO": hello, "CLUSTER": noCluster, "INFO": info("7.0.0"), "SET": "-MOVED 1234 10.0.0.1:6379",
		}), "name some of its nodes in the Redis URL"},
		"a full disk": {"redis://" + fake(t, map[string]string{
			"HELLO": hello, "CLUSTER": noCluster, "INFO": info("7.0.0"), "SET": "-MISCONF Redis is configured to save RDB snapshots",
		}), "cannot write to its disk"},
		"another scheme":      {"http://localhost", "must begin with redis:// or, for TLS, rediss://"},
		"no host":             {"redis://", "names no host"},
		"no URL":              {"redis://a b", "cannot be read"},
		"a word for a number": {"redis://localhost/main", "must be a database number"},
		"an unknown word":     {"redis://localhost?adr=x", `unknown parameter "adr"`},
		"no such file":        {"rediss://localhost?ca=/nowhere.pem", "parameter ca"},
		"ca without TLS":      {"redis://localhost?ca=/nowhere.pem", "for rediss:// alone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			c, err := redisconn.Connect(t.Context(), redisconn.Options{URL: test.url, ConnectTimeout: 2 * time.Second})
			if err == nil {
				c.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "wrong@") {
				t.Errorf("it says %q, want %q", err, test.want)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestAServerThatComesUpLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	server.Stop()
	opened := make(chan error, 1)
	go func() {
		c, err := redisconn.Connect(t.Context(), redisconn.Options{URL: server.URL(), ConnectTimeout: 20 * time.Second})
		if err == nil {
			c.Close()
		}
		opened <- err
	}()
	server.Start()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// set writes, as any part of the program does.
func set(ctx context.Context, client rueidis.Client) error {
	return client.Do(ctx, client.B().Set().Key("k").Value("v").Build()).Error()
}

func TestAServerThatBecomesAReplicaIsAwayUntilItTakesWritesAgain(t *testing.T) {
	t.Parallel()
	server, other := testserver.StartRedis(t), testserver.StartRedis(t)
	c, err := redisconn.Connect(t.Context(), redisconn.Options{URL: server.URL(), CallTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Do(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(other.Addr())
	server.Do("REPLICAOF", host, port)
	err = c.Do(t.Context(), set)
	if hearth.ErrorCode(err) != hearth.CodeUnavailable || !c.Away() {
		t.Fatalf("a replica: %v", err)
	}
	if fault := c.Fault(); fault == nil || !strings.Contains(fault.Error(), "must name the primary") {
		t.Errorf("the fault is %v", fault)
	}
	server.Do("REPLICAOF", "NO", "ONE")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := c.Await(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), set); err != nil {
		t.Error(err)
	}
}

func TestAnErrorOfTheQuestionOpensNothing(t *testing.T) {
	t.Parallel()
	c, err := redisconn.Connect(t.Context(), redisconn.Options{URL: testserver.StartRedis(t).URL(), CallTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	err = c.Do(t.Context(), func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Arbitrary("NOSUCHCOMMAND").Build()).Error()
	})
	if err == nil || c.Away() {
		t.Errorf("a wrong command: %v, away %v", err, c.Away())
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Do(gone, set); !errors.Is(err, context.Canceled) || c.Away() {
		t.Errorf("a caller who gave up: %v, away %v", err, c.Away())
	}
	c.Close()
	c.Close()
	if err := c.Do(t.Context(), set); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("after Close: %v", err)
	}
}
