package alarms

import (
	"errors"
	"testing"
	"time"

	"hearth"
)

// A rule that is made while a judgement begins judges the readings that came after it: the judgement is made again.
func TestAJudgementByRulesThatHaveChangedIsMadeAgain(t *testing.T) {
	t.Parallel()
	of := &sitting{id: "d", device: &hearth.Device{ID: "d"}, set: &ruleset{}, now: time.Now(), changed: func() bool { return true }}
	waiting := []hearth.Unjudged{{DeviceID: "d", ReceivedAt: of.now}}
	if _, err := of.verdict(hearth.Watch{DeviceID: "d"}, waiting, nil); !errors.Is(err, errOldRules) {
		t.Errorf("by rules that have changed: %v", err)
	}
	of.fresh = true
	if _, err := of.verdict(hearth.Watch{DeviceID: "d"}, waiting, nil); err != nil {
		t.Errorf("by those of now: %v", err)
	}
}
