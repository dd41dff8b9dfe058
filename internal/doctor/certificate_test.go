package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/config"
)

func TestTheDoctorJudgesCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	end := begin.AddDate(0, 0, 90)
	template := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"home.example"}, NotBefore: begin, NotAfter: end}
	certificate, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := config.Config{TLSCert: write("cert", "CERTIFICATE", certificate), TLSKey: write("key", "PRIVATE KEY", private), TLSAddr: ":443"}
	for _, test := range []struct {
		now    time.Time
		public string
		text   string
		ok     bool
	}{
		{begin.AddDate(0, 0, 1), "https://home.example", "is valid until 2026-05-30T00:00:00Z", true},
		{begin.AddDate(0, 0, 1), "", "is valid until", true},
		{begin.AddDate(0, 0, 1), "https://other.example", "is not for other.example", false},
		{begin.Add(-time.Second), "", "is valid from 2026-03-01T00:00:00Z", false},
		{end.AddDate(0, 0, -13), "", "expires 2026-05-30T00:00:00Z", false},
		{end.Add(time.Second), "", "expired 2026-05-30T00:00:00Z", false},
	} {
		cfg := good
		cfg.PublicURL = test.public
		d := &doctor{cfg: &cfg, now: test.now}
		d.certificate()
		if len(d.lines) != 1 || d.lines[0].OK != test.ok || !strings.Contains(d.lines[0].Text, test.text) {
			t.Errorf("%s, %s: %+v, want %q", test.now, test.public, d.lines, test.text)
		}
	}
	none := &doctor{cfg: &config.Config{}}
	none.certificate()
	broken := &doctor{cfg: &config.Config{TLSCert: good.TLSKey, TLSKey: good.TLSKey}}
	broken.certificate()
	if len(none.lines) != 0 || len(broken.lines) != 1 || broken.lines[0].OK {
		t.Errorf("without one: %+v; with none that can be read: %+v", none.lines, broken.lines)
	}
}
