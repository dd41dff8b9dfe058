package people

import (
	"context"
	"net/http"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/orgs"
)

const tagOrganizations = "Organizations"

// Organization is an organization on the wire.
type Organization struct {
	ID        string    `json:"id" format:"uuid" example:"0195a1b2-aaaa-7e5f-8a9b-0c1d2e3f4a5b"`
	Name      string    `json:"name" example:"Greenhouse Ltd"`
	Role      *string   `json:"role" enum:"owner,admin,member,viewer" doc:"The caller's; null for an admin of the installation who is not in it."`
	CreatedAt rest.Time `json:"created_at"`
	UpdatedAt rest.Time `json:"updated_at"`
}

func wireOrganization(o hearth.Organization, role hearth.OrgRole) Organization {
	return Organization{
		ID: o.ID, Name: o.Name, Role: rest.TextOrNull(string(role)), CreatedAt: rest.Time(o.CreatedAt), UpdatedAt: rest.Time(o.UpdatedAt),
	}
}

// OrganizationName is what can be said of an organization.
type OrganizationName struct {
	Name string `json:"name" minLength:"1" maxLength:"200" example:"Greenhouse Ltd"`
}

// OrganizationChange is what to change of an organization: what is left out stays.
type OrganizationChange struct {
	Name rest.Optional[string] `json:"name,omitempty" minLength:"1" maxLength:"200" example:"Greenhouse Ltd"`
}

// Member is a member of an organization on the wire.
type Member struct {
	UserID   string    `json:"user_id" format:"uuid" example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	Name     string    `json:"name" example:"Ada"`
	Email    string    `json:"email" example:"ada@example.com"`
	Role     string    `json:"role" enum:"owner,admin,member,viewer"`
	JoinedAt rest.Time `json:"joined_at"`
}

func wireMember(m hearth.Member) Member {
	return Member{UserID: m.UserID, Name: m.Name, Email: m.Email, Role: string(m.Role), JoinedAt: rest.Time(m.JoinedAt)}
}

// MemberRole is the role to set.
type MemberRole struct {
	Role string `json:"role" enum:"owner,admin,member,viewer" doc:"viewer reads, member writes devices, admin manages members too, owner everything."`
}

// NewInvitation is whom to invite as what.
type NewInvitation struct {
	Email string `json:"email" minLength:"3" maxLength:"254" example:"ada@example.com"`
	MemberRole
}

// Invitation is an invitation on the wire. Its token goes out by e-mail alone.
type Invitation struct {
	ID        string    `json:"id" format:"uuid" example:"0195a1b2-bbbb-7e5f-8a9b-0c1d2e3f4a5b"`
	Email     string    `json:"email" example:"ada@example.com"`
	Role      string    `json:"role" enum:"owner,admin,member,viewer"`
	CreatedAt rest.Time `json:"created_at"`
	ExpiresAt rest.Time `json:"expires_at" doc:"Seven days after it was made."`
}

func wireInvitation(i hearth.Invitation) Invitation {
	return Invitation{ID: i.ID, Email: i.Email, Role: string(i.Role), CreatedAt: rest.Time(i.CreatedAt), ExpiresAt: rest.Time(i.ExpiresAt)}
}

// InvitationToken is the token of an invitation.
type InvitationToken struct {
	Token string `json:"token" minLength:"1" maxLength:"128" doc:"From the e-mail." example:"3q2-7wAB…"`
}

// Membership is what the caller became in an organization.
type Membership struct {
	OrganizationID string `json:"organization_id" format:"uuid" example:"0195a1b2-aaaa-7e5f-8a9b-0c1d2e3f4a5b"`
	Member
}

func (a *people) registerOrganizations() {
	rest.Register(a.Router, rest.Operation{
		ID: "create-organization", Method: http.MethodPost, Path: "/organizations", Tag: tagOrganizations, Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Status: http.StatusCreated, Creates: true, Location: true, Codes: []hearth.Code{hearth.CodeConflict}, Summary: "Create an organization",
		Description: "The caller becomes its owner. A user can be in at most 1000.",
	}, a.createOrganization)
	rest.Register(a.Router, rest.Operation{
		ID: "list-organizations", Method: http.MethodGet, Path: "/organizations", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, ETag: true,
		Summary: "List organizations", Description: "Those that the caller is in, newest first; all of them for an admin.",
	}, a.listOrganizations)
	rest.Register(a.Router, rest.Operation{
		ID: "get-organization", Method: http.MethodGet, Path: "/organizations/{id}", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get an organization", Description: "For its members.",
	}, a.getOrganization)
	rest.Register(a.Router, rest.Operation{
		ID: "update-organization", Method: http.MethodPatch, Path: "/organizations/{id}", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Rename an organization", Description: "For its owners and admins.",
	}, a.updateOrganization)
	rest.Register(a.Router, rest.Operation{
		ID: "delete-organization", Method: http.MethodDelete, Path: "/organizations/{id}", Tag: tagOrganizations, Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Delete an organization",
		Description: "For its owners. `conflict` while it has devices.",
	}, a.deleteOrganization)
	rest.Register(a.Router, rest.Operation{
		ID: "list-members", Method: http.MethodGet, Path: "/organizations/{id}/members", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "List an organization's members", Description: "As they joined. For its members.",
	}, a.listMembers)
	rest.Register(a.Router, rest.Operation{
		ID: "set-member", Method: http.MethodPut, Path: "/organizations/{id}/members/{user_id}", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Set a member's role in an organization",
		Description: "Changes a member's role, or makes a user a member. For owners and admins; an admin can neither change a member with a higher " +
			"role than their own nor grant one. `conflict` if no owner would be left.",
	}, a.setMember)
	rest.Register(a.Router, rest.Operation{
		ID: "remove-member", Method: http.MethodDelete, Path: "/organizations/{id}/members/{user_id}", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Remove a member from an organization",
		Description: "For owners and admins; every member may leave. `conflict` if no owner would be left.",
	}, a.removeMember)
	rest.Register(a.Router, rest.Operation{
		ID: "create-invitation", Method: http.MethodPost, Path: "/organizations/{id}/invitations", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Status: http.StatusCreated, Creates: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Invite a user by e-mail",
		Description: "Sends a link that works once, within seven days; it replaces an earlier one to the same e-mail. The answer is the same whether or " +
			"not there is an account with that e-mail. For owners and admins, up to their own role.",
	}, a.createInvitation)
	rest.Register(a.Router, rest.Operation{
		ID: "list-invitations", Method: http.MethodGet, Path: "/organizations/{id}/invitations", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "List an organization's open invitations", Description: "Newest first. For owners and admins.",
	}, a.listInvitations)
	rest.Register(a.Router, rest.Operation{
		ID: "delete-invitation", Method: http.MethodDelete, Path: "/organizations/{id}/invitations/{invitation_id}", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Withdraw an invitation", Description: "For owners and admins.",
	}, a.deleteInvitation)
	rest.Register(a.Router, rest.Operation{
		ID: "accept-invitation", Method: http.MethodPost, Path: "/invitations/accept", Tag: tagOrganizations,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, Creates: true,
		Codes: []hearth.Code{hearth.CodeConflict}, Summary: "Accept an invitation",
		Description: "The caller, whose e-mail must be the invited one, becomes a member. Who is one already keeps the higher role. " +
			"`validation_failed` for a token that is unknown, used, expired, withdrawn or of another e-mail, and where its sender may not invite to " +
			"that role any more.",
	}, a.acceptInvitation)
}

// OrganizationPath names an organization in the path.
type OrganizationPath struct {
	ID string `path:"id" maxLength:"64" doc:"The organization." example:"0195a1b2-aaaa-7e5f-8a9b-0c1d2e3f4a5b"`
}

// MemberPath names a member in the path.
type MemberPath struct {
	OrganizationPath
	UserID string `path:"user_id" maxLength:"64" doc:"The user." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
}

func (a *people) createOrganization(ctx context.Context, in *struct{ Body OrganizationName }) (*rest.Created[Organization], error) {
	wire := func(o hearth.Organization) Organization { return wireOrganization(o, hearth.OrgOwner) }
	org, err := a.Organizations.Create(ctx, rest.CallerOf(ctx), in.Body.Name, rest.Idempotency(ctx, wire))
	return rest.NewCreated("/organizations/"+org.ID, wire(org)), err
}

type listOrganizationsOutput struct {
	Body rest.List[Organization]
}

func (a *people) listOrganizations(ctx context.Context, in *struct{ rest.PageParams }) (*listOrganizationsOutput, error) {
	page, err := in.Page("-created_at")
	if err != nil {
		return nil, err
	}
	caller := rest.CallerOf(ctx)
	list, err := a.Organizations.Organizations(ctx, caller, page)
	if err != nil {
		return nil, err
	}
	body, err := rest.ListOf(list, in.Fields, func(o hearth.Organization) Organization { return wireOrganization(o, caller.Orgs[o.ID]) })
	return &listOrganizationsOutput{Body: body}, err
}

type organizationOutput struct {
	Body Organization
}

func organizationBody(ctx context.Context, org hearth.Organization, err error) (*organizationOutput, error) {
	if err != nil {
		return nil, err
	}
	return &organizationOutput{wireOrganization(org, rest.CallerOf(ctx).Orgs[org.ID])}, nil
}

func (a *people) getOrganization(ctx context.Context, in *struct{ OrganizationPath }) (*organizationOutput, error) {
	org, err := a.Organizations.Organization(ctx, rest.CallerOf(ctx), in.ID)
	return organizationBody(ctx, org, err)
}

func (a *people) updateOrganization(ctx context.Context, in *struct {
	OrganizationPath
	Body OrganizationChange
}) (*organizationOutput, error) {
	if in.Body.Name.Null {
		return nil, hearth.Invalid(rest.NotNull("name"))
	}
	if !in.Body.Name.Set {
		return a.getOrganization(ctx, &struct{ OrganizationPath }{in.OrganizationPath})
	}
	check := func(org hearth.Organization) error {
		return rest.Unchanged(ctx, wireOrganization(org, rest.CallerOf(ctx).Orgs[org.ID]))
	}
	org, err := a.Organizations.Rename(ctx, rest.CallerOf(ctx), in.ID, in.Body.Name.Value, check)
	return organizationBody(ctx, org, err)
}

func (a *people) deleteOrganization(ctx context.Context, in *struct{ OrganizationPath }) (*struct{}, error) {
	return nil, a.Organizations.Delete(ctx, rest.CallerOf(ctx), in.ID)
}

type listMembersOutput struct {
	Body rest.List[Member]
}

func (a *people) listMembers(ctx context.Context, in *struct {
	OrganizationPath
	rest.PageParams
}) (*listMembersOutput, error) {
	page, err := in.Page("joined_at")
	if err != nil {
		return nil, err
	}
	list, err := a.Organizations.Members(ctx, rest.CallerOf(ctx), in.ID, page)
	if err != nil {
		return nil, err
	}
	body, err := rest.ListOf(list, in.Fields, wireMember)
	return &listMembersOutput{Body: body}, err
}

type memberOutput struct {
	Body Member
}

func (a *people) setMember(ctx context.Context, in *struct {
	MemberPath
	Body MemberRole
}) (*memberOutput, error) {
	member, err := a.Organizations.SetMember(ctx, rest.CallerOf(ctx), in.ID, in.UserID, hearth.OrgRole(in.Body.Role))
	if err != nil {
		return nil, err
	}
	return &memberOutput{wireMember(member)}, nil
}

func (a *people) removeMember(ctx context.Context, in *struct{ MemberPath }) (*struct{}, error) {
	return nil, a.Organizations.RemoveMember(ctx, rest.CallerOf(ctx), in.ID, in.UserID)
}

func (a *people) createInvitation(ctx context.Context, in *struct {
	OrganizationPath
	Body NewInvitation
}) (*rest.Body[Invitation], error) {
	invitation, err := a.Organizations.Invite(ctx, rest.CallerOf(ctx), orgs.NewInvitation{
		OrganizationID: in.ID, Email: in.Body.Email, Role: hearth.OrgRole(in.Body.Role),
	}, rest.Idempotency(ctx, wireInvitation))
	return &rest.Body[Invitation]{Body: wireInvitation(invitation)}, err
}

func (a *people) listInvitations(ctx context.Context, in *struct {
	OrganizationPath
	rest.PageParams
}) (*rest.Body[rest.List[Invitation]], error) {
	page, err := in.Page("")
	if err != nil {
		return nil, err
	}
	list, err := a.Organizations.Invitations(ctx, rest.CallerOf(ctx), in.ID, page)
	if err != nil {
		return nil, err
	}
	body, err := rest.ListOf(list, in.Fields, wireInvitation)
	return &rest.Body[rest.List[Invitation]]{Body: body}, err
}

func (a *people) deleteInvitation(ctx context.Context, in *struct {
	OrganizationPath
	InvitationID string `path:"invitation_id" maxLength:"64" doc:"The invitation."`
}) (*struct{}, error) {
	return nil, a.Organizations.Withdraw(ctx, rest.CallerOf(ctx), in.ID, in.InvitationID)
}

func (a *people) acceptInvitation(ctx context.Context, in *struct{ Body InvitationToken }) (*rest.Body[Membership], error) {
	wire := func(m hearth.Member) Membership {
		return Membership{OrganizationID: m.OrganizationID, Member: wireMember(m)}
	}
	member, err := a.Organizations.Accept(ctx, rest.CallerOf(ctx), in.Body.Token, rest.Idempotency(ctx, wire))
	return &rest.Body[Membership]{Body: wire(member)}, err
}
