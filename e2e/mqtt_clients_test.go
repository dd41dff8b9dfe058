package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// startDevice runs a program that is a device, and returns the lines that it prints. It ends with the test.
func startDevice(t *testing.T, broker, token, version string, program ...string) <-chan string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program[0], program[1:]...)
	cmd.Dir, cmd.Stderr = "devices", os.Stderr
	cmd.Env = append(os.Environ(), "BROKER="+broker, "TOKEN="+token, "VERSION="+version)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, ended := make(chan string, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() { <-ended })
	return lines
}

// aDeviceIsServed has a program be a device: it reports a value, takes on the desired state, answers commands, and goes on with its session after a
// restart of the server.
func aDeviceIsServed(t *testing.T, s *server, ann *client, broker, version string, program ...string) {
	t.Helper()
	device := ann.device(strings.Join(append(program, broker, version), " "))
	lines := startDevice(t, broker, ann.deviceToken(device), version, program...)
	connected := func(want string) {
		t.Helper()
		for patience := time.After(60 * time.Second); ; {
			select {
			case line := <-lines:
				if line == want {
					return
				}
				t.Logf("%s: %s", device, line)
			case <-patience:
				t.Fatalf("the device does not say %q", want)
			}
		}
	}
	works := func(n int) {
		t.Helper()
		var c struct {
			State  string
			Result map[string]int
		}
		ann.do("POST", "/devices/"+device+"/commands?wait=20s", map[string]any{"name": "set", "params": map[string]int{"n": n}}, 200).Into(t, &c)
		if c.State != "succeeded" || c.Result["n"] != n {
			t.Errorf("the command is %+v", c)
		}
		ann.do("PATCH", "/devices/"+device+"/twin/desired", map[string]any{"power": n}, 200)
		within(t, 30*time.Second, "the device takes on the desired state", func() string {
			var twin struct {
				Reported struct{ Power int }
			}
			ann.do("GET", "/devices/"+device+"/twin", nil, 200).Into(t, &twin)
			if twin.Reported.Power != n {
				return fmt.Sprintf("it reports %+v", twin.Reported)
			}
			return ""
		})
	}
	connected("connected 0 0")
	works(1)
	within(t, 30*time.Second, "the value is stored", func() string {
		if got := (&crashLoad{device: device}).stored(t, ann); got[21] != 1 {
			return fmt.Sprint("stored is ", got)
		}
		return ""
	})
	s.kill()
	s.start()
	connected("connected 0 1")
	works(2)
}

func TestDebiansPahoIsServed(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3" // the one that has Debian's packages
	if err := exec.Command(python, "-c", "import paho.mqtt").Run(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("this machine has no python3-paho-mqtt")
		}
		t.Skip("this machine has no python3-paho-mqtt")
	}
	s := serveMQTT(t)
	ann, _ := s.signup("ann@example.com")
	aDeviceIsServed(t, s, ann, "tcp://"+s.mqtt, "", python, "debian.py")
}

// What a client of a session that is kept did not acknowledge comes again after a crash: in order, as a duplicate, with its packet identifier.
func TestCommandsComeAgainWithTheirPacketIdentifiers(t *testing.T) {
	t.Parallel()
	s := serveMQTT(t)
	ann, _ := s.signup("ann@example.com")
	device := ann.device("lamp")
	received := make(chan paho.Message, 100)
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + s.mqtt).SetClientID("lamp").SetUsername(ann.deviceToken(device)).SetCleanSession(false).
		SetAutoAckDisabled(true).SetMaxReconnectInterval(100 * time.Millisecond).SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { received <- m }))
	done := func(token paho.Token) {
		t.Helper()
		if !token.WaitTimeout(20*time.Second) || token.Error() != nil {
			t.Fatalf("paho is refused: %v", token.Error())
		}
	}
	done(c.Connect())
	defer c.Disconnect(100)
	done(c.Subscribe("c", 1, nil))
	next := func() paho.Message {
		t.Helper()
		select {
		case m := <-received:
			return m
		case <-time.After(60 * time.Second):
			t.Fatal("no command comes")
			return nil
		}
	}
	var ids [2]string
	var sent [2]paho.Message
	for i := range sent {
		var made struct{ ID string }
		ann.do("POST", "/devices/"+device+"/commands", map[string]any{"name": "blink"}, 202).Into(t, &made)
		ids[i], sent[i] = made.ID, next()
		if sent[i].Duplicate() {
			t.Errorf("command %d is a duplicate at first", i)
		}
		within(t, 30*time.Second, "the command is noted as sent", func() string {
			var now struct{ State string }
			if ann.do("GET", "/commands/"+made.ID, nil, 200).Into(t, &now); now.State != "sent" {
				return now.State
			}
			return ""
		})
	}
	s.kill()
	s.start()
	for i := range sent {
		again := next()
		if !again.Duplicate() || again.MessageID() != sent[i].MessageID() || !bytes.Equal(again.Payload(), sent[i].Payload()) {
			t.Errorf("command %d, %d %s, comes again as %d %s, a duplicate: %v", i, sent[i].MessageID(), sent[i].Payload(), again.MessageID(), again.Payload(),
				again.Duplicate())
		}
		again.Ack()
	}
	for _, id := range ids {
		within(t, 30*time.Second, "the command is delivered", func() string {
			var now struct{ State string }
			if ann.do("GET", "/commands/"+id, nil, 200).Into(t, &now); now.State != "delivered" {
				return now.State
			}
			return ""
		})
	}
}
