package provision

import (
	"strings"
	"testing"
)

func TestACodeIsReadHoweverItIsTyped(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"7Q4M-0XTZ-K9BD": "7Q4M0XTZK9BD", "7q4m0xtzk9bd": "7Q4M0XTZK9BD", "7q4m oxtz k9bd": "7Q4M0XTZK9BD", "ILIL-OOOO-0101": "111100000101",
		"": "", "7Q4M-0XTZ-K9B": "", "7Q4M-0XTZ-K9BDE": "", "7Q4M-0XTZ-K9BU": "", "7Q4M-0XTZ-K9B.": "", "é": "",
	} {
		if got, ok := normalCode(typed); ok != (want != "") || ok && got != want {
			t.Errorf("%q is read as %q, %v", typed, got, ok)
		}
	}
}

func FuzzNormalCode(f *testing.F) {
	f.Add("7Q4M-0XTZ-K9BD")
	f.Add("ı\u212a-\xff")
	f.Fuzz(func(t *testing.T, typed string) {
		code, ok := normalCode(typed)
		if !ok {
			return
		}
		if len(code) != codeLength || strings.Trim(code, codeAlphabet) != "" {
			t.Errorf("%q is read as %q", typed, code)
		}
		if again, ok := normalCode(code); !ok || again != code {
			t.Errorf("%q is read as %q, and that as %q", typed, code, again)
		}
	})
}

func TestCodesAreWellFormedAndDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		text := newCode()
		normal, ok := normalCode(text)
		if !ok || seen[normal] || len(text) != codeLength+2 || strings.ReplaceAll(text, "-", "") != normal {
			t.Fatalf("the code %q is read as %q", text, normal)
		}
		seen[normal] = true
	}
}
