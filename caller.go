package hearth

import (
	"net/netip"
	"slices"
	"strings"
)

// Role is what a person may do on the whole installation.
type Role string

// The roles: an admin may do everything, a user what is theirs.
const (
	RoleAdmin Role = "admin"
	RoleUser  Role = "user"
)

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return r == RoleAdmin || r == RoleUser }

// OrgRole is what a person may do in one organization.
type OrgRole string

// The roles in an organization, from the strongest to the weakest. A member writes devices, a viewer reads.
const (
	OrgOwner  OrgRole = "owner"
	OrgAdmin  OrgRole = "admin"
	OrgMember OrgRole = "member"
	OrgViewer OrgRole = "viewer"
)

// Rank orders the roles of an organization: 4 for an owner to 1 for a viewer, 0 for anything else.
func (r OrgRole) Rank() int {
	switch r {
	case OrgOwner:
		return 4
	case OrgAdmin:
		return 3
	case OrgMember:
		return 2
	case OrgViewer:
		return 1
	}
	return 0
}

// Valid reports whether r is one of the roles.
func (r OrgRole) Valid() bool { return r.Rank() > 0 }

// Caller is who makes a request: a person with an access token or an API key (UserID is set), a device with its token (DeviceID
// is set), or nobody (neither is). It is resolved once a request and passed on explicitly.
type Caller struct {
	UserID string
	Role   Role
	// SessionID is the login that the access token descends from.
	SessionID string
	// Epoch is the person's User.Epoch that the access token was issued in: once that has counted on, the token is refused.
	Epoch int64
	// TimeZone is the person's User.TimeZone.
	TimeZone string
	// Orgs are the caller's organizations and the role in each.
	Orgs map[string]OrgRole
	// KeyID is the API key that was used, which has these Scopes; "" is none.
	KeyID  string
	Scopes []KeyScope
	// OnlyOrg, if it is set, is the one organization whose objects the caller reaches: what the key is bound to.
	OnlyOrg string
	// DeviceID is the device whose token was used.
	DeviceID string
	// Gateway, if it is set, is the scope whose devices the caller speaks for: a device that has connected with a gateway's token. Calls of the
	// API never set it.
	Gateway Scope
	// Operator says that it is the command line: who may read the data of an installation may do everything.
	Operator bool
	// IP, UserAgent and RequestID are where the request came from, for sessions and audit.
	IP        string
	UserAgent string
	RequestID string
}

// Network returns the caller's address, as far as it tells one client from another: a client with one IPv6 address has the whole /64.
func (c Caller) Network() string {
	addr, err := netip.ParseAddr(c.IP)
	if err == nil && addr.Is6() && !addr.Is4In6() {
		if prefix, err := addr.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return c.IP
}

// IsUser reports whether the caller is a person who signed in.
func (c Caller) IsUser() bool { return c.UserID != "" }

// IsDevice reports whether the caller is a device.
func (c Caller) IsDevice() bool { return c.DeviceID != "" }

// IsAdmin reports whether the caller may do everything.
func (c Caller) IsAdmin() bool {
	return c.Operator || c.IsUser() && c.Role == RoleAdmin && c.OnlyOrg == ""
}

// HasScope reports whether the caller may use that part of the API: with an API key, only what its scopes name.
func (c Caller) HasScope(scope KeyScope) bool {
	return c.KeyID == "" || slices.Contains(c.Scopes, scope)
}

// WithOrgs returns the caller with the organizations that they are in; an API key that is bound to one has that one alone.
func (c Caller) WithOrgs(orgs map[string]OrgRole) Caller {
	if c.Orgs = orgs; c.OnlyOrg == "" {
		return c
	}
	role := orgs[c.OnlyOrg]
	if c.Role == RoleAdmin {
		role = OrgOwner
	}
	if c.Orgs = nil; role.Valid() {
		c.Orgs = map[string]OrgRole{c.OnlyOrg: role}
	}
	return c
}

// owns reports whether what that user has for themselves is the caller's.
func (c Caller) owns(userID string) bool { return c.IsUser() && c.UserID == userID && c.OnlyOrg == "" }

// ordered reports whether the caller ordered something that keeps who did: the user, and the organization of the API key.
func (c Caller) ordered(userID, onlyOrg string) bool {
	return c.IsUser() && c.UserID == userID && (c.OnlyOrg == "" || c.OnlyOrg == onlyOrg)
}

// Actor names the caller for the audit, idempotency and logs: "user:ID", with an API key "user:ID/key:ID", "device:ID", "cli"
// for the command line, or "" for nobody.
func (c Caller) Actor() string {
	switch {
	case c.KeyID != "":
		return c.Key() + "/key:" + c.KeyID
	case c.Operator:
		return "cli"
	}
	return c.Key()
}

// Key names who the caller's requests count for: "user:ID", "device:ID" or "" for nobody.
func (c Caller) Key() string {
	switch {
	case c.IsUser():
		return "user:" + c.UserID
	case c.IsDevice():
		return "device:" + c.DeviceID
	}
	return ""
}

// Scope is the one owner of a device and of everything that hangs on it: a person or an organization. Lists, analytics,
// exports, channels and cache keys are cut by scope.
type Scope string

// UserScope is the scope of a person's own devices.
func UserScope(userID string) Scope { return Scope("user:" + userID) }

// OrgScope is the scope of an organization's devices.
func OrgScope(orgID string) Scope { return Scope("org:" + orgID) }

// cutScope returns the id of a scope whose kind is that of another one.
func cutScope(s, kind Scope) (id string, ok bool) { return strings.CutPrefix(string(s), string(kind)) }

// Reach is the set of scopes that a question covers. The zero Reach covers nothing.
type Reach struct {
	// All covers every scope of the installation (an admin's).
	All    bool
	Scopes []Scope
}

// Reach returns what the caller may read: everything for an admin, else the caller's own devices and those of their
// organizations; with an API key that is bound to an organization, that one's. With orgID set it is that organization alone, and CodeNotFound if the caller may not read it.
func (c Caller) Reach(orgID string) (Reach, error) {
	if !c.IsUser() {
		return Reach{}, Errorf(CodeForbidden, "a device may not ask this")
	}
	if orgID != "" {
		if !c.IsAdmin() && !c.Orgs[orgID].Valid() {
			return Reach{}, NotFound("organization")
		}
		return Reach{Scopes: []Scope{OrgScope(orgID)}}, nil
	}
	if c.IsAdmin() {
		return Reach{All: true}, nil
	}
	var scopes []Scope
	if c.owns(c.UserID) {
		scopes = append(scopes, UserScope(c.UserID))
	}
	for id := range c.Orgs {
		scopes = append(scopes, OrgScope(id))
	}
	return Reach{Scopes: scopes}, nil
}
