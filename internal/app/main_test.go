package app_test

import (
	"os"
	"testing"

	"hearth/internal/apitest"
)

func TestMain(m *testing.M) { os.Exit(apitest.Main(m)) }
