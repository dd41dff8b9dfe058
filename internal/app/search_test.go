package app_test

import (
	"net/url"
	"testing"

	"hearth/internal/apitest"
)

func TestASearchIgnoresCaseAndAccents(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		ann := apitest.SignUp(t, apitest.Start(t, m.Config(t)), "ann@example.com")
		for _, name := range []string{"Café", "Cafe\u0301 2", "Кафе", "Straße"} {
			ann.Call(t, "POST", "/devices", map[string]any{"name": name, "type": "t"})
		}
		expect := expects(t, ann)
		for query, want := range map[string]string{
			"cafe": `"total":2}`, "CAFE\u0301": `"total":2}`, "é 2": `"total":1}`, "кАФЕ": `"total":1}`, "STRASSE": `"total":1}`, "caff": `"total":0}`,
		} {
			expect("/devices?count=true&q="+url.QueryEscape(query), 200, want)
		}
	})
}
