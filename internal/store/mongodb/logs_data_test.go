package mongodb

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestTheRealDataGivesTheFactsBack(t *testing.T) {
	t.Parallel()
	s := openAt(t, Options{URI: newDatabase(t)})
	storetest.RealData(t, s, "opensmarthome", s.FoldAll)
}
