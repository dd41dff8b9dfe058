package doctor

import (
	"crypto/tls"
	"net/url"
	"time"
)

// renewBefore is how long before its end a certificate should be renewed.
const renewBefore = 14 * 24 * time.Hour

// certificate judges the certificate of the listeners with TLS, where there is one.
func (d *doctor) certificate() {
	if d.cfg.TLSCert == "" {
		return
	}
	const check, renew = "certificate", "renew the certificate of tls_cert; it is read again when it changes"
	pair, err := tls.LoadX509KeyPair(d.cfg.TLSCert, d.cfg.TLSKey)
	if err != nil {
		d.badf(check, "look at tls_cert and tls_key", "%v", err)
		return
	}
	leaf, host := pair.Leaf, ""
	if u, err := url.Parse(d.cfg.PublicURL); err == nil && d.cfg.TLSAddr != "" {
		host = u.Hostname()
	}
	switch {
	case d.now.After(leaf.NotAfter):
		d.badf(check, renew, "%s expired %s: clients refuse it", d.cfg.TLSCert, leaf.NotAfter.Format(time.RFC3339))
	case d.now.Before(leaf.NotBefore):
		d.badf(check, "look at the clock, or wait", "%s is valid from %s: clients refuse it", d.cfg.TLSCert, leaf.NotBefore.Format(time.RFC3339))
	case host != "" && leaf.VerifyHostname(host) != nil:
		d.badf(check, "use a certificate of the host of public_url", "%s is not for %s: clients refuse it", d.cfg.TLSCert, host)
	case leaf.NotAfter.Sub(d.now) < renewBefore:
		d.badf(check, renew, "%s expires %s", d.cfg.TLSCert, leaf.NotAfter.Format(time.RFC3339))
	default:
		d.okf(check, "%s is valid until %s", d.cfg.TLSCert, leaf.NotAfter.Format(time.RFC3339))
	}
}
