package api

import (
	"net/http"
	"strings"

	"hearth/internal/api/rest"
)

// classOf returns the class of an operation that names none. What lies outside of the contract's base path has no limit.
func classOf(op rest.Operation) string {
	path := op.Path
	switch {
	case op.Root:
		return ""
	case path == "/auth/login", path == "/auth/signup", strings.HasPrefix(path, "/auth/password"):
		return rest.ClassAuth
	case path == "/auth/refresh":
		return rest.ClassRefresh
	case under(path, "/devices"), under(path, "/heartbeats"), under(path, "/logs"):
		return rest.ClassDevices
	case under(path, "/analytics"):
		return rest.ClassAnalytics
	case path == "/exports" && op.Method == http.MethodPost:
		return rest.ClassExports
	case path == "/realtime/ws", path == "/realtime/sse", path == "/mqtt":
		return rest.ClassStreams
	}
	return rest.ClassGeneral
}

func under(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}
