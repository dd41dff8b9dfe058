package mongodb

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// What is asked for on the command line comes first. A check of a model is hundreds of commands, and what the tests wait
	// for is mostly another process.
	for name, value := range map[string]string{"rapid.checks": "10", "test.parallel": "4"} {
		asked := false
		flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == name })
		if asked {
			continue
		}
		if err := flag.Set(name, value); err != nil {
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
