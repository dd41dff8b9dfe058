package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// MongoDB is the state of a MongoDB database and its servers.
type MongoDB struct {
	// Server is the server's version.
	Server string
	// ReplicaSet is the name of the set, "" for a server alone; Members counts the members that hold data and vote.
	ReplicaSet string
	Members    int
	// Down names members that are not well; Volatile reports whether data is in memory alone, as far as the account may know.
	Down     []string
	Volatile bool
	// Skew is the least difference between the server's clock and ours.
	Skew time.Duration
	// Exists reports whether the database has a schema; what follows counts only if so.
	Exists bool
	// Version is the schema's, Newest the program's.
	Version, Newest int
	// Missing are indexes that are not there or not as they should be; Command makes one, in MongoDB's shell.
	Missing []struct{ Name, Command string }
	// Restoring names what the store is half restored from; "" if it is not.
	Restoring string
}

// enoughMembers is from how many members on a replica set takes writes when it has lost one.
const enoughMembers = 3

func (d *doctor) mongodb(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	e, err := d.MongoDB(ctx, d.cfg.StoreURL)
	if err != nil {
		d.badf("database", "look at store_url and the database", "%v", err)
		return
	}
	d.lines = append(d.lines, judgeSchema("database", e), judgeServers("database servers", e))
	if e.Skew > clockSkew {
		d.badf("database clock", "let all machines follow a time server", "it is %s off ours", e.Skew.Round(time.Millisecond))
	} else {
		d.okf("database clock", "it agrees with ours")
	}
}

// judgeSchema reports whether the database is what the program made it.
func judgeSchema(check string, e MongoDB) Line {
	bad := func(change, format string, args ...any) Line {
		return Line{Check: check, Text: fmt.Sprintf(format, args...), Change: change}
	}
	switch {
	case !e.Exists:
		return Line{Check: check, OK: true, Text: "it is empty; the first start makes the schema"}
	case e.Restoring != "":
		return bad("run the same restore or migrate again, or empty the database", "it is half restored (from %s)", e.Restoring)
	case e.Version > e.Newest:
		return bad("use the newer program", "its schema is %d, newer than this program's %d", e.Version, e.Newest)
	case e.Version < e.Newest:
		return Line{Check: check, OK: true, Text: fmt.Sprintf("its schema is %d, and the next start brings it to %d", e.Version, e.Newest)}
	case len(e.Missing) > 0:
		var names, commands []string
		for _, index := range e.Missing {
			names, commands = append(names, index.Name), append(commands, index.Command)
		}
		return bad("in mongosh, after dropIndex of one of the same keys: "+strings.Join(commands, "; "),
			"indexes are missing or not as they should be: %s", strings.Join(names, ", "))
	}
	return Line{Check: check, OK: true, Text: fmt.Sprintf("schema %d with every index", e.Version)}
}

// judgeServers reports whether what is acknowledged survives the loss of a machine.
func judgeServers(check string, e MongoDB) Line {
	bad := func(change, format string, args ...any) Line {
		return Line{Check: check, Text: fmt.Sprintf(format, args...), Change: change}
	}
	switch {
	case e.Volatile:
		return bad("use the storage engine wiredTiger", "data is kept in memory alone")
	case len(e.Down) > 0:
		return bad("look at its log, its disk and the network between the members", "not well: %s", strings.Join(e.Down, ", "))
	case e.ReplicaSet == "":
		return bad("make it a replica set of three members on three machines (deploy/mongodb); until then keep backups elsewhere",
			"version %s, alone: with its disk everything is lost, and nothing takes over when it stops", e.Server)
	case e.Members < enoughMembers:
		return bad("add members with data until there are three", "version %s, replica set %s of %d: when one stops, so do writes", e.Server, e.ReplicaSet, e.Members)
	}
	return Line{Check: check, OK: true, Text: fmt.Sprintf("version %s, replica set %s of %d; writes wait for a majority of them and their journals",
		e.Server, e.ReplicaSet, e.Members)}
}
