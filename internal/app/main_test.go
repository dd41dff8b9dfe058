package app_test

import (
	"fmt"
	"os"
	"testing"

	"hearth/internal/apitest"
)

func TestMain(m *testing.M) {
	code := apitest.Main(m)
	if err := removeRealData(); err != nil {
		fmt.Fprintln(os.Stderr, "remove the real data:", err)
		code = 1
	}
	os.Exit(code)
}
