// Command bench measures hearth beside the floor (the least that could do the same work) and beside a peer
// (PocketBase), all in one run on one machine, so that their ratios mean something where absolute figures do not.
//
//	go run . [-hearth ../bin/hearth] [-before OLD-PROGRAM] [-seconds 5] [-rounds 3] [-rows 10000000] [-devices 20000] [-only heartbeats,batches] [-out results]
//
// It prints a table and writes the same as JSON.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	hearth      string
	before      string
	seconds     time.Duration
	rounds      int
	connections int
	rows        int
	devices     int
	out         string
	only        []string
}

func (o options) wants(section string) bool {
	group, _, _ := strings.Cut(section, "-")
	return len(o.only) == 0 || slices.Contains(o.only, section) || slices.Contains(o.only, group) ||
		slices.ContainsFunc(o.only, func(part string) bool { return strings.HasPrefix(part, section+"-") })
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	// The servers that hearth is measured beside are processes of their own, as hearth is.
	if len(args) == 2 && args[0] == "floor" {
		return serveFloor(ctx, args[1])
	}
	if len(args) == 2 && args[0] == "bare" {
		return serveBare(ctx, args[1])
	}
	if len(args) == 2 && args[0] == "node" {
		return serveNode(ctx, args[1])
	}
	if len(args) == 1 && args[0] == "burn" {
		return burn()
	}
	if len(args) == 3 && args[0] == "peer" {
		return servePeer(args[1], args[2])
	}
	var o options
	var only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.hearth, "hearth", "../bin/hearth", "the program to measure")
	flags.StringVar(&o.before, "before", "", "another program to measure in turn with it, such as an older one")
	flags.DurationVar(&o.seconds, "seconds", 4*time.Second, "length of one measurement")
	flags.IntVar(&o.rounds, "rounds", 3, "measurements of each, taken in turn; the median counts")
	flags.IntVar(&o.connections, "connections", 64, "parallel clients")
	flags.IntVar(&o.rows, "rows", 10_000_000, "logs of the large history")
	flags.IntVar(&o.devices, "devices", 20_000, "devices that are silent while a rule watches them")
	flags.StringVar(&o.out, "out", "results", "folder of the JSON")
	flags.StringVar(&only, "only", "", "sections: heartbeats,posts,twins,commands (commands-rounds,commands-waiting),alarms (alarms-logs,alarms-webhooks,alarms-silence),batches,list,dashboard,logins,exports,queue,backups,observing,hostile (hostile-1 …),live (live-fan,live-each,live-idle,live-watched),fleet,mqtt (mqtt-publish,mqtt-live,mqtt-commands,mqtt-idle,mqtt-storm)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, program := range []*string{&o.hearth, &o.before} {
		if *program == "" {
			continue
		}
		path, err := filepath.Abs(*program)
		if err != nil {
			return err
		}
		*program = path
	}
	scratch, err := os.MkdirTemp("", "hearth-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	results := newReport(o)
	for _, section := range []struct {
		name    string
		measure measure
	}{
		{"heartbeats", measureHeartbeats},
		{"posts", measurePosts},
		{"twins", measureTwins},
		{"commands-rounds", measureCommands},
		{"commands-waiting", measureWaiting},
		{"alarms-logs", measureAlarms},
		{"alarms-webhooks", measureWebhooks},
		{"alarms-silence", measureSilence},
		{"batches", measureBatches},
		{"list", measureList},
		{"dashboard", measureDashboard},
		{"logins", measureLogins},
		{"exports", measureExports},
		{"queue", measureQueue},
		{"backups", measureBackups},
		{"observing", measureObserving},
		{"hostile", measureHostile},
		{"fleet", measureFleet},
		{"mqtt-publish", measureMQTTPublish},
		{"mqtt-live", measureMQTTLive},
		{"mqtt-commands", measureMQTTCommands},
		{"mqtt-idle", measureMQTTIdle},
		{"mqtt-storm", measureMQTTStorm},
		{"live-fan", measureFan},
		{"live-each", measureEach},
		{"live-idle", measureIdles},
		{"live-watched", measureWatched},
	} {
		if !o.wants(section.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s…\n", section.name)
		dir := filepath.Join(scratch, section.name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := measureBoth(ctx, o, dir, results, section.measure); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return results.finish()
}

// measure adds the figures of one section to a report. The directory is there, and empty.
type measure func(ctx context.Context, o options, dir string, r *report) error

// measureBoth measures the program and, where there is one, the one before it: round by round, one after the other.
func measureBoth(ctx context.Context, o options, dir string, r *report, m measure) error {
	if o.before == "" {
		return m(ctx, o, dir, r)
	}
	programs := [2]string{o.before, o.hearth}
	var rounds [2][]*report
	rounds[0], rounds[1] = make([]*report, o.rounds), make([]*report, o.rounds)
	for round := range o.rounds {
		for i, program := range programs {
			once, into := o, filepath.Join(dir, fmt.Sprint(round, i))
			once.rounds, once.hearth = 1, program
			if err := os.MkdirAll(into, 0o700); err != nil {
				return err
			}
			rounds[i][round] = newReport(o)
			if err := m(ctx, once, into, rounds[i][round]); err != nil {
				return fmt.Errorf("%s: %w", program, err)
			}
		}
	}
	r.addBoth(rounds[0], rounds[1])
	return nil
}
