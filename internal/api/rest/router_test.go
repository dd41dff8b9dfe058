package rest

import (
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// newRouter returns a Router whose operations all count against the limit general.
func newRouter(tb testing.TB, options Options) *Router {
	tb.Helper()
	rt, err := New(options, Contract{
		Document: &huma.OpenAPI{OpenAPI: "3.1.0", Info: &huma.Info{Title: "test"}, Components: &huma.Components{
			Schemas:   huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			Responses: map[string]*huma.Response{"NotModified": {}},
		}},
		Class: func(Operation) string { return ClassGeneral },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return rt
}
