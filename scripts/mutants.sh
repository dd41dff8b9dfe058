#!/usr/bin/env bash
# Breaks one security check after another in a copy of the tree, and runs the tests that must notice. A check that can
# be broken without a test failing is an error, and so is a mutation whose text is no longer in the source.
#
# MUTANTS narrows it to the mutations whose name matches that regular expression.
set -euo pipefail

# At the same place each time, so that what is compiled is used again.
copy=$PWD/.cache/mutants
rm -rf "$copy"
mkdir -p "$copy"
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard -- '*.go' '*.sql' go.mod go.sum internal |
  while IFS= read -r -d '' file; do [[ -e $file ]] && printf '%s\0' "$file"; done |
  sort -zu | tar -c --null -T - | tar -x -C "$copy"

failures=0 count=0

# mutant NAME FILE OLD NEW PACKAGE TESTS: replaces OLD, which must be there once, by NEW.
mutant() {
  local name=$1 file=$2 old=$3 new=$4 package=$5 tests=$6
  [[ $name =~ ${MUTANTS:-.} ]] || return 0
  count=$((count + 1))
  cp "$copy/$file" "$copy/.whole"
  if ! OLD=$old NEW=$new perl -0777 -i -pe '$n = s/\Q$ENV{OLD}\E/$ENV{NEW}/g; END { exit($n == 1 ? 0 : 1) }' "$copy/$file"; then
    printf 'GONE      %s: %s does not hold this once: %s\n' "$name" "$file" "$old"
    failures=$((failures + 1))
  elif ! go -C "$copy" test -c -o "$copy/.test" "$package" >"$copy/.log" 2>&1; then
    printf 'BROKEN    %s: the mutation does not compile\n' "$name"
    sed 's/^/  /' "$copy/.log"
    failures=$((failures + 1))
  elif (cd "$copy/$package" && "$copy/.test" -test.timeout 180s -test.run "$tests") >"$copy/.log" 2>&1; then
    printf 'SURVIVED  %s: %s pass without it\n' "$name" "$tests"
    failures=$((failures + 1))
  else
    printf 'noticed   %s: %s\n' "$name" "$(grep -m1 -o -- '--- FAIL: [^ ]*' "$copy/.log" | cut -c11- || true)"
  fi
  cp "$copy/.whole" "$copy/$file"
}

mutant 'a token of another kind is an access token' internal/core/account/token.go \
  '|| token.Header["typ"] != accessType' '' ./internal/app 'TestTheServiceHoldsUnderAttack/alone/forged'
mutant 'a token of another server counts' internal/core/account/token.go \
  'jwt.WithIssuer(o.Issuer), ' '' ./internal/app 'TestTheServiceHoldsUnderAttack/alone/forged'
mutant 'a revoked session lives on' internal/core/account/authenticate.go \
  'if state.ended || state.userID' 'if state.userID' ./internal/core/account 'TestAnotherInstancesChanges'
mutant 'a spent refresh token counts again' internal/core/account/login.go \
  'case t.Spent:' 'case t.Spent && false:' ./internal/core/account 'TestARefreshToken|TestOfFifty'
mutant 'wrong passwords never lock' internal/core/account/login.go \
  'if t.Failed >= maxTries {' 'if t.Failed >= 1000*maxTries {' ./internal/core/account 'TestFiveWrongPasswords'
mutant 'a lock lets the right password in' internal/core/account/login.go \
  'if left <= 0 {' 'if left <= lockTime {' ./internal/core/account 'TestFiveWrongPasswords'
mutant 'common passwords are taken' internal/core/account/password.go \
  'if message == "" && isCommon(password) {' 'if message == "" && false {' ./internal/core/account 'TestNewPasswords'
mutant 'an unknown e-mail is answered at once' internal/core/account/password.go \
  'hash = h.decoy' 'return false' ./internal/core/account 'TestKnownAndUnknown'
mutant "another's device is open" device.go \
  'if d.OwnerID == c.UserID {' 'if c.UserID != "" {' ./internal/core/devices 'TestWhoMayDoWhat'
mutant 'a device speaks for others' device.go \
  'if c.DeviceID == d.ID {' 'if c.DeviceID != "" {' ./internal/api 'TestADeviceTokenSpeaks'
mutant 'a viewer writes' device.go \
  'Rank() >= OrgMember.Rank():' 'Rank() >= OrgViewer.Rank():' ./internal/api 'TestAnOrganizationLives'
mutant 'an admin of an organization makes owners' organization.go \
  'from.Rank() > own || to.Rank() > own' 'from.Rank() > own' ./internal/core/orgs 'TestWhoMayDoWhat'
mutant "a stranger's list shows all" caller.go \
  'return Reach{Scopes: scopes}, nil' 'return Reach{All: true}, nil' ./internal/api 'TestDevicesAreListed'
mutant 'users do what admins do' internal/api/rest/route.go \
  'op.Access == ForAdmins && !caller.IsAdmin()' 'op.Access == ForAdmins && !caller.IsUser()' ./internal/api/rest 'TestRequestsAreAnswered'
mutant 'anybody chooses their address' internal/api/rest/clientip.go \
  'if contains(trusted, peer) {' 'if peer.IsValid() {' ./internal/api/rest 'TestOnlyTrustedProxies'
mutant 'a key may be there twice' internal/api/rest/strictjson.go \
  'return len(slices.Compact(all)) < len(all)' 'return false' ./internal/api/rest 'TestBodiesAreRead'
mutant 'bodies have no bound' internal/api/rest/body.go \
  'limit: limit, left: limit}' 'limit: limit, left: 1 << 40}' ./internal/api/rest 'TestCompressedBodies'
mutant 'any page opens a WebSocket' internal/realtime/websocket.go \
  'if !n.originAllowed(r) {' 'if !n.originAllowed(r) && false {' ./internal/realtime 'TestOnlyKnownOrigins'
mutant 'an edited audit is not noticed' internal/core/audit/audit.go \
  'case e.Sum() != e.Hash:' 'case e.Sum() != e.Hash && false:' ./internal/core/audit 'TestVerifyFinds'
mutant 'fields are stored as they are' internal/sealer/sealer.go \
  'return slices.Concat(mark, sealed), nil' 'return slices.Concat(sealed[:0], plain), nil' ./internal/sealer 'TestValuesOpen'

printf '%d mutations, %d not noticed\n' "$count" "$failures"
((count > 0 && failures == 0))
