package mongodb

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Each check of a model has a database of its own, which takes most of a second. What is asked for on the command line
	// comes first.
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		if err := flag.Set("rapid.checks", "10"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := m.Run()
	if err := databases.Drop(); err != nil {
		fmt.Fprintln(os.Stderr, "drop the tests' databases:", err)
		code = 1
	}
	os.Exit(code)
}
