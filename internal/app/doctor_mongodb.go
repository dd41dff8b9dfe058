package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"hearth/internal/store/mongodb"
)

// enoughMembers is from how many members on a replica set takes writes when it has lost one.
const enoughMembers = 3

func (d *doctor) mongodb(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	e, err := mongodb.Examine(ctx, d.cfg.StoreURL)
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
func judgeSchema(check string, e mongodb.Examination) DoctorLine {
	bad := func(change, format string, args ...any) DoctorLine {
		return DoctorLine{Check: check, Text: fmt.Sprintf(format, args...), Change: change}
	}
	switch {
	case !e.Exists:
		return DoctorLine{Check: check, OK: true, Text: "it is empty; the first start makes the schema"}
	case e.Restoring != "":
		return bad("run the same restore or migrate again, or empty the database", "it is half restored (from %s)", e.Restoring)
	case e.Version > e.Newest:
		return bad("use the newer program", "its schema is %d, newer than this program's %d", e.Version, e.Newest)
	case e.Version < e.Newest:
		return DoctorLine{Check: check, OK: true, Text: fmt.Sprintf("its schema is %d, and the next start brings it to %d", e.Version, e.Newest)}
	case len(e.Missing) > 0:
		var names, commands []string
		for _, i := range e.Missing {
			names, commands = append(names, i.Name), append(commands, i.Command)
		}
		return bad("in mongosh, after dropIndex of one of the same keys: "+strings.Join(commands, "; "),
			"indexes are missing or not as they should be: %s", strings.Join(names, ", "))
	}
	return DoctorLine{Check: check, OK: true, Text: fmt.Sprintf("schema %d with every index", e.Version)}
}

// judgeServers reports whether what is acknowledged survives the loss of a machine.
func judgeServers(check string, e mongodb.Examination) DoctorLine {
	bad := func(change, format string, args ...any) DoctorLine {
		return DoctorLine{Check: check, Text: fmt.Sprintf(format, args...), Change: change}
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
	return DoctorLine{Check: check, OK: true, Text: fmt.Sprintf("version %s, replica set %s of %d; writes wait for a majority of them and their journals",
		e.Server, e.ReplicaSet, e.Members)}
}
