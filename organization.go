package hearth

import (
	"context"
	"time"
)

// Limits of organizations. A name's length is in characters.
const (
	MaxOrganizationName = 200
	// MaxInvitations is how many invitations of an organization may be open.
	MaxInvitations = 1000
	// MaxOrganizations is how many organizations a person may be in.
	MaxOrganizations = 1000
	// InvitationTTL is how long an invitation may be accepted.
	InvitationTTL = 7 * 24 * time.Hour
)

// Organization is people who share devices.
type Organization struct {
	ID        string
	Name      string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Validate checks every field that people set; locations start with prefix, such as "body.".
func (o Organization) Validate(prefix string) []FieldError {
	if message := checkText(o.Name, MaxOrganizationName); message != "" {
		return []FieldError{{prefix + "name", message}}
	}
	return nil
}

// Member is a person in an organization.
type Member struct {
	OrganizationID string
	UserID         string
	// Name and Email are the person's, as they are now.
	Name     string
	Email    string
	Role     OrgRole
	JoinedAt time.Time
}

// Invitation lets the person with an e-mail into an organization, once. Only the SHA-256 of its token is kept.
type Invitation struct {
	ID             string
	OrganizationID string
	// Email is normalized (see NormalizeEmail).
	Email string
	Role  OrgRole
	Hash  []byte
	// InvitedBy is the id of the person who invites.
	InvitedBy string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// OrgAccess is what a caller may do with an organization, as a set of bits.
type OrgAccess uint8

// The bits: reading the organization and its members, inviting and changing members, renaming, deleting.
const (
	MayReadOrg OrgAccess = 1 << iota
	MayManageMembers
	MayEditOrg
	MayDeleteOrg
)

// orgAccess is the one rule of who may do what with an organization.
var orgAccess = map[OrgRole]OrgAccess{ // never written to
	OrgOwner:  MayReadOrg | MayManageMembers | MayEditOrg | MayDeleteOrg,
	OrgAdmin:  MayReadOrg | MayManageMembers | MayEditOrg,
	OrgMember: MayReadOrg,
	OrgViewer: MayReadOrg,
}

// OrgRole returns the role that the caller acts with in an organization: an admin of the installation acts as an owner. ""
// if the caller has none.
func (c Caller) OrgRole(orgID string) OrgRole {
	switch {
	case !c.IsUser():
		return ""
	case c.IsAdmin():
		return OrgOwner
	}
	return c.Orgs[orgID]
}

// AllowOrg turns the rule into an answer: nil if the caller may do all that need asks for, CodeNotFound if the caller may
// not even read the organization, CodeForbidden otherwise.
func (c Caller) AllowOrg(orgID string, need OrgAccess) error {
	switch access := orgAccess[c.OrgRole(orgID)]; {
	case access&need == need:
		return nil
	case access&MayReadOrg == 0:
		return NotFound("organization")
	}
	return Errorf(CodeForbidden, "you may not do this with the organization")
}

// AllowRole is the rule for changing what a person is in an organization, from one role to another; "" is no member.
// Everybody may leave. Beyond that it takes MayManageMembers, and nobody changes someone above their own role or grants
// above it. CodeNotFound, CodeForbidden.
func (c Caller) AllowRole(orgID, userID string, from, to OrgRole) error {
	if err := c.AllowOrg(orgID, MayReadOrg); err != nil {
		return err
	}
	if userID == c.UserID && from.Valid() && to == "" {
		return nil
	}
	if err := c.AllowOrg(orgID, MayManageMembers); err != nil {
		return err
	}
	if own := c.OrgRole(orgID).Rank(); from.Rank() > own || to.Rank() > own {
		return Errorf(CodeForbidden, "you may not give or take a role above your own")
	}
	return nil
}

// OrganizationFilter picks organizations.
type OrganizationFilter struct {
	// UserID picks those that the person is in; "" picks all.
	UserID string
}

// OrganizationStore keeps organizations, their members and invitations. Every write is atomic and durable when it
// returns; errors are of the codes named here, or CodeUnavailable and CodeStorageFull. Functions that are passed in may
// run more than once, may complete the entries of effects.Audit, which are read after them, and must otherwise only
// compute; an error of theirs is returned and nothing is written.
type OrganizationStore interface {
	// CreateOrganization stores an organization with its first owner; CodeNotFound if that user is gone, CodeConflict if
	// the user is in MaxOrganizations.
	CreateOrganization(ctx context.Context, org Organization, ownerID string, effects SideEffects) error
	// Organization returns one organization; CodeNotFound.
	Organization(ctx context.Context, id string) (Organization, error)
	// Organizations lists, newest first; a page has no other sort.
	Organizations(ctx context.Context, filter OrganizationFilter, page Page) (List[Organization], error)
	// UpdateOrganization reads, changes and writes one organization in one atomic step; change must not touch ID or
	// CreatedAt. CodeNotFound.
	UpdateOrganization(ctx context.Context, id string, change func(Organization) (Organization, error), effects SideEffects) (Organization, error)
	// DeleteOrganization removes an organization with its memberships and invitations, and returns the ids of those who
	// were members. CodeNotFound; CodeConflict while it has devices.
	DeleteOrganization(ctx context.Context, id string, effects SideEffects) (memberIDs []string, err error)

	// Roles returns the organizations that a person is in, and the role in each.
	Roles(ctx context.Context, userID string) (map[string]OrgRole, error)
	// Members lists, those who joined first before; a page has no other sort.
	Members(ctx context.Context, orgID string, page Page) (List[Member], error)
	// ChangeMember returns a person the role that change makes of the present one; "" is no member. Whoever loses rank
	// loses the open invitations that they made. CodeNotFound if the organization or the person is gone; CodeConflict for
	// a change after which no owner would be left, or if the user is in MaxOrganizations.
	ChangeMember(ctx context.Context, change MemberChange, effects SideEffects) (Member, error)

	// CreateInvitation stores an invitation in place of an earlier one of the same e-mail; CodeNotFound if the organization is
	// gone, CodeConflict if it has MaxInvitations.
	CreateInvitation(ctx context.Context, invitation Invitation, effects SideEffects) error
	// Invitation returns one invitation; CodeNotFound.
	Invitation(ctx context.Context, id string) (Invitation, error)
	// InvitationByHash finds an invitation by its token; CodeNotFound.
	InvitationByHash(ctx context.Context, hash []byte) (Invitation, error)
	// Invitations lists those of an organization that are open at the time now, newest first; a page has no other sort.
	Invitations(ctx context.Context, orgID string, now time.Time, page Page) (List[Invitation], error)
	// DeleteInvitation removes an invitation of an organization; CodeNotFound.
	DeleteInvitation(ctx context.Context, orgID, id string, effects SideEffects) error
	// UseInvitation removes the invitation with that hash and returns the person the role that change makes of the
	// invitation and the present role. Of many uses at once one succeeds; CodeNotFound for the others.
	UseInvitation(ctx context.Context, use InvitationUse, effects SideEffects) (Member, error)
	// DeleteExpiredInvitations removes up to limit invitations that expired by now, and returns their number.
	DeleteExpiredInvitations(ctx context.Context, now time.Time, limit int) (int, error)
}

// MemberChange is a change of what a person is in an organization.
type MemberChange struct {
	OrganizationID string
	UserID         string
	At             time.Time
	// Role makes the new role of the present one; "" is no member.
	Role func(from OrgRole) (to OrgRole, err error)
}

// InvitationUse is a person who accepts an invitation.
type InvitationUse struct {
	Hash   []byte
	UserID string
	At     time.Time
	// Role makes the new role of the invitation and the present role. inviter is who invited, with the roles of now; the zero Caller if
	// that user is gone or disabled.
	Role func(invitation Invitation, inviter Caller, from OrgRole) (to OrgRole, err error)
}
