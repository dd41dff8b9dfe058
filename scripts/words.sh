#!/usr/bin/env bash
# Refuses words for which hearth has a plainer one, in documents, API texts and Go comments. What stands in code or between
# backquotes is not looked at. Without arguments it checks everything that is known to be clean; a path that was cleaned joins
# that list.
#
#   scripts/words.sh [FILE|DIRECTORY]...
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"

clean=(
  README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md 'docs/*.md'
  client ':(exclude)client/go/api.gen.go' internal/blob internal/boundedcache internal/config internal/core internal/groupcommit internal/keyfile internal/keymutex
  internal/kv internal/mail internal/mailer internal/newid internal/observe ':(glob)internal/queue/*.go' internal/queue/queuetest
  internal/queue/redisqueue internal/realtime internal/redisconn internal/sealer internal/testserver internal/throughput
)

[[ $# -gt 0 ]] || set -- "${clean[@]}"
git ls-files -z --cached --others --exclude-standard -- "$@" | perl -Mstrict -we '
  # what is refused, and what to write instead
  my @table = map { /^(.*?) => (.*)$/ ? [qr/\b(?:$1)\b/i, $2] : () } split /\n\s*/, q{
    gives|gave|gives back|gave back|given back => returns, sets, provides
    (?<!dead[ -])letters?(?! (?:or|and|,)|,|s? of the alphabet) => e-mail
    tr(?:y|ies|ied)(?! again) => attempt
    tells?|told|telling|news => publish, notify, report, event
    people|somebody|someone|nobody|whoever|whomever|everybody => users, the caller, all, none
    (?:at )?the door|lets in|let in => listener, pending connections, accepts
    beside => next to, compared with, while … runs
    tak(?:e|es|en|ing) in => accept, ingest, acquire
    settl(?:e|es|ed|ing)|h(?:o|e)lds? still => fold, pause, wait until idle
    place of (?:an|the) events? => position
    along(?! with) => in the same transaction, side effects
    foreign(?! keys?)|elsewhere => remote, of another process
    gently|gives? way => low priority, throttled
    lanes?|drafts? => partition, pending write
    the own => your
    town|farm|the world => server, fleet, fixture
  };
  my $failed = 0;
  for my $file (map { split /\0/ } do { local $/; <STDIN> // "" }) {
    my $go = $file =~ /\.go$/;
    next unless $go || $file =~ /\.(md|json|yml|yaml)$/;
    open my $in, "<:encoding(UTF-8)", $file or next;
    my ($fence, $releases) = (0, 0);
    while (my $text = <$in>) {
      last if $file =~ /CHANGELOG/ && $text =~ /^## / && $releases++;
      $fence = !$fence if $file =~ /\.md$/ && $text =~ /^\s*```/;
      next if $fence;
      $text = $text =~ m{(?:^|\s)//\s(.*)} ? $1 : next if $go;
      $text = $text =~ /^\s*"(?:description|summary)": "(.*)"/ ? $1 : next if $file =~ /\.json$/;
      $text =~ s/`[^`]*`|\]\([^)]*\)//g;
      for my $word (grep { $text =~ $_->[0] } @table) {
        $text =~ $word->[0];
        print STDERR "$file:$.: \"$&\": write $word->[1]\n";
        $failed = 1;
      }
    }
  }
  exit $failed;'
