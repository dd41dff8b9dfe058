package api

import (
	"context"
	"net/http"

	"hearth"
	"hearth/internal/core/orgs"
)

const tagOrganizations = "Organizations"

// Organization is an organization on the wire.
type Organization struct {
	ID        string  `json:"id" format:"uuid" example:"0195a1b2-aaaa-7e5f-8a9b-0c1d2e3f4a5b"`
	Name      string  `json:"name" example:"Greenhouse Ltd"`
	Role      *string `json:"role" enum:"owner,admin,member,viewer" doc:"The caller's; null for an admin of the installation who is not in it."`
	CreatedAt Time    `json:"created_at"`
	UpdatedAt Time    `json:"updated_at"`
}

func wireOrganization(o hearth.Organization, role hearth.OrgRole) Organization {
	return Organization{
		ID: o.ID, Name: o.Name, Role: text(string(role)), CreatedAt: Time(o.CreatedAt), UpdatedAt: Time(o.UpdatedAt),
	}
}

// OrganizationName is what can be said of an organization.
type OrganizationName struct {
	Name string `json:"name" minLength:"1" maxLength:"200" example:"Greenhouse Ltd"`
}

// OrganizationChange is what to change of an organization: what is left out stays.
type OrganizationChange struct {
	Name Optional[string] `json:"name,omitempty" minLength:"1" maxLength:"200" example:"Greenhouse Ltd"`
}

// Member is a member of an organization on the wire.
type Member struct {
	UserID   string `json:"user_id" format:"uuid" example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	Name     string `json:"name" example:"Ada"`
	Email    string `json:"email" example:"ada@example.com"`
	Role     string `json:"role" enum:"owner,admin,member,viewer"`
	JoinedAt Time   `json:"joined_at"`
}

func wireMember(m hearth.Member) Member {
	return Member{UserID: m.UserID, Name: m.Name, Email: m.Email, Role: string(m.Role), JoinedAt: Time(m.JoinedAt)}
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
	ID        string `json:"id" format:"uuid" example:"0195a1b2-bbbb-7e5f-8a9b-0c1d2e3f4a5b"`
	Email     string `json:"email" example:"ada@example.com"`
	Role      string `json:"role" enum:"owner,admin,member,viewer"`
	CreatedAt Time   `json:"created_at"`
	ExpiresAt Time   `json:"expires_at" doc:"Seven days after it was made."`
}

func wireInvitation(i hearth.Invitation) Invitation {
	return Invitation{ID: i.ID, Email: i.Email, Role: string(i.Role), CreatedAt: Time(i.CreatedAt), ExpiresAt: Time(i.ExpiresAt)}
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

func (a *API) registerOrganizations() {
	register(a.Router, operation{
		ID: "create-organization", Method: http.MethodPost, Path: "/organizations", Tag: tagOrganizations, Access: forUsers, Key: closedToKeys,
		Status: http.StatusCreated, Creates: true, Location: true, Codes: []hearth.Code{hearth.CodeConflict}, Summary: "Create an organization",
		Description: "The caller becomes its owner. A user can be in at most 1000.",
	}, a.createOrganization)
	register(a.Router, operation{
		ID: "list-organizations", Method: http.MethodGet, Path: "/organizations", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys, ETag: true,
		Summary: "List organizations", Description: "Those that the caller is in, newest first; all of them for an admin.",
	}, a.listOrganizations)
	register(a.Router, operation{
		ID: "get-organization", Method: http.MethodGet, Path: "/organizations/{id}", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get an organization", Description: "For its members.",
	}, a.getOrganization)
	register(a.Router, operation{
		ID: "update-organization", Method: http.MethodPatch, Path: "/organizations/{id}", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Rename an organization", Description: "For its owners and admins.",
	}, a.updateOrganization)
	register(a.Router, operation{
		ID: "delete-organization", Method: http.MethodDelete, Path: "/organizations/{id}", Tag: tagOrganizations, Access: forUsers, Key: closedToKeys,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Delete an organization",
		Description: "For its owners. `conflict` while it has devices.",
	}, a.deleteOrganization)
	register(a.Router, operation{
		ID: "list-members", Method: http.MethodGet, Path: "/organizations/{id}/members", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "List an organization's members", Description: "As they joined. For its members.",
	}, a.listMembers)
	register(a.Router, operation{
		ID: "set-member", Method: http.MethodPut, Path: "/organizations/{id}/members/{user_id}", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys,
		Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Set a member's role in an organization",
		Description: "Changes a member's role, or makes a user a member. For owners and admins; an admin can neither change a member with a higher " +
			"role than their own nor grant one. `conflict` if no owner would be left.",
	}, a.setMember)
	register(a.Router, operation{
		ID: "remove-member", Method: http.MethodDelete, Path: "/organizations/{id}/members/{user_id}", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Remove a member from an organization",
		Description: "For owners and admins; every member may leave. `conflict` if no owner would be left.",
	}, a.removeMember)
	register(a.Router, operation{
		ID: "create-invitation", Method: http.MethodPost, Path: "/organizations/{id}/invitations", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys,
		Status: http.StatusCreated, Creates: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Invite a user by e-mail",
		Description: "Sends a link that works once, within seven days; it replaces an earlier one to the same e-mail. The answer is the same whether or " +
			"not there is an account with that e-mail. For owners and admins, up to their own role.",
	}, a.createInvitation)
	register(a.Router, operation{
		ID: "list-invitations", Method: http.MethodGet, Path: "/organizations/{id}/invitations", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "List an organization's open invitations", Description: "Newest first. For owners and admins.",
	}, a.listInvitations)
	register(a.Router, operation{
		ID: "delete-invitation", Method: http.MethodDelete, Path: "/organizations/{id}/invitations/{invitation_id}", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Withdraw an invitation", Description: "For owners and admins.",
	}, a.deleteInvitation)
	register(a.Router, operation{
		ID: "accept-invitation", Method: http.MethodPost, Path: "/invitations/accept", Tag: tagOrganizations,
		Access: forUsers, Key: closedToKeys, Creates: true,
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

func (a *API) createOrganization(ctx context.Context, in *struct{ Body OrganizationName }) (*created[Organization], error) {
	wire := func(o hearth.Organization) Organization { return wireOrganization(o, hearth.OrgOwner) }
	org, err := a.options.Organizations.Create(ctx, callerOf(ctx), in.Body.Name, idempotency(ctx, wire))
	return newCreated("/organizations/"+org.ID, wire(org)), err
}

type listOrganizationsOutput struct {
	Body List[Organization]
}

func (a *API) listOrganizations(ctx context.Context, in *struct{ PageParams }) (*listOrganizationsOutput, error) {
	page, err := in.page("-created_at")
	if err != nil {
		return nil, err
	}
	caller := callerOf(ctx)
	list, err := a.options.Organizations.Organizations(ctx, caller, page)
	if err != nil {
		return nil, err
	}
	body, err := wireList(list, in.Fields, func(o hearth.Organization) Organization { return wireOrganization(o, caller.Orgs[o.ID]) })
	return &listOrganizationsOutput{Body: body}, err
}

type organizationOutput struct {
	Body Organization
}

func organizationBody(ctx context.Context, org hearth.Organization, err error) (*organizationOutput, error) {
	if err != nil {
		return nil, err
	}
	return &organizationOutput{wireOrganization(org, callerOf(ctx).Orgs[org.ID])}, nil
}

func (a *API) getOrganization(ctx context.Context, in *struct{ OrganizationPath }) (*organizationOutput, error) {
	org, err := a.options.Organizations.Organization(ctx, callerOf(ctx), in.ID)
	return organizationBody(ctx, org, err)
}

func (a *API) updateOrganization(ctx context.Context, in *struct {
	OrganizationPath
	Body OrganizationChange
}) (*organizationOutput, error) {
	if in.Body.Name.Null {
		return nil, hearth.Invalid(hearth.FieldError{Location: "body.name", Message: "must not be null"})
	}
	if !in.Body.Name.Set {
		return a.getOrganization(ctx, &struct{ OrganizationPath }{in.OrganizationPath})
	}
	check := func(org hearth.Organization) error {
		return unchanged(ctx, wireOrganization(org, callerOf(ctx).Orgs[org.ID]))
	}
	org, err := a.options.Organizations.Rename(ctx, callerOf(ctx), in.ID, in.Body.Name.Value, check)
	return organizationBody(ctx, org, err)
}

func (a *API) deleteOrganization(ctx context.Context, in *struct{ OrganizationPath }) (*struct{}, error) {
	return nil, a.options.Organizations.Delete(ctx, callerOf(ctx), in.ID)
}

type listMembersOutput struct {
	Body List[Member]
}

func (a *API) listMembers(ctx context.Context, in *struct {
	OrganizationPath
	PageParams
}) (*listMembersOutput, error) {
	page, err := in.page("joined_at")
	if err != nil {
		return nil, err
	}
	list, err := a.options.Organizations.Members(ctx, callerOf(ctx), in.ID, page)
	if err != nil {
		return nil, err
	}
	body, err := wireList(list, in.Fields, wireMember)
	return &listMembersOutput{Body: body}, err
}

type memberOutput struct {
	Body Member
}

func (a *API) setMember(ctx context.Context, in *struct {
	MemberPath
	Body MemberRole
}) (*memberOutput, error) {
	member, err := a.options.Organizations.SetMember(ctx, callerOf(ctx), in.ID, in.UserID, hearth.OrgRole(in.Body.Role))
	if err != nil {
		return nil, err
	}
	return &memberOutput{wireMember(member)}, nil
}

func (a *API) removeMember(ctx context.Context, in *struct{ MemberPath }) (*struct{}, error) {
	return nil, a.options.Organizations.RemoveMember(ctx, callerOf(ctx), in.ID, in.UserID)
}

func (a *API) createInvitation(ctx context.Context, in *struct {
	OrganizationPath
	Body NewInvitation
}) (*bodyOf[Invitation], error) {
	invitation, err := a.options.Organizations.Invite(ctx, callerOf(ctx), orgs.NewInvitation{
		OrganizationID: in.ID, Email: in.Body.Email, Role: hearth.OrgRole(in.Body.Role),
	}, idempotency(ctx, wireInvitation))
	return &bodyOf[Invitation]{wireInvitation(invitation)}, err
}

func (a *API) listInvitations(ctx context.Context, in *struct {
	OrganizationPath
	PageParams
}) (*bodyOf[List[Invitation]], error) {
	page, err := in.page("")
	if err != nil {
		return nil, err
	}
	list, err := a.options.Organizations.Invitations(ctx, callerOf(ctx), in.ID, page)
	if err != nil {
		return nil, err
	}
	body, err := wireList(list, in.Fields, wireInvitation)
	return &bodyOf[List[Invitation]]{Body: body}, err
}

func (a *API) deleteInvitation(ctx context.Context, in *struct {
	OrganizationPath
	InvitationID string `path:"invitation_id" maxLength:"64" doc:"The invitation."`
}) (*struct{}, error) {
	return nil, a.options.Organizations.Withdraw(ctx, callerOf(ctx), in.ID, in.InvitationID)
}

func (a *API) acceptInvitation(ctx context.Context, in *struct{ Body InvitationToken }) (*bodyOf[Membership], error) {
	wire := func(m hearth.Member) Membership {
		return Membership{OrganizationID: m.OrganizationID, Member: wireMember(m)}
	}
	member, err := a.options.Organizations.Accept(ctx, callerOf(ctx), in.Body.Token, idempotency(ctx, wire))
	return &bodyOf[Membership]{wire(member)}, err
}
