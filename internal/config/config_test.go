package config_test

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth/internal/config"
)

var update = flag.Bool("update", false, "write docs/reference/configuration.md anew")

// goodKey and otherKey are random keys that protect nothing.
const (
	goodKey  = "3q2+7wTkGv9Zc1xXo5JmQyLr8hUeWn4BtD6sKpA0fIg="
	otherKey = "nB7x0Qd1Vt5mKfYz2LcJrWs9PaGhEu3oXi8TbRy6CvM="
)

func TestNoRefreshLeewayIsZeroOrOff(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0", "off"} {
		cfg, err := config.Load(config.Options{Environ: []string{"HEARTH_REFRESH_LEEWAY=" + text}})
		if err != nil || cfg.RefreshLeeway != 0 {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	want := map[string][2]any{
		"addr":             {cfg.Addr, ":8080"},
		"admin_addr":       {cfg.AdminAddr, "127.0.0.1:9090"},
		"data_dir":         {cfg.DataDir, "./hearth-data"},
		"store_url":        {cfg.StoreURL, ""},
		"signup":           {cfg.Signup, config.SignupOpen},
		"access_ttl":       {cfg.AccessTTL, 15 * time.Minute},
		"refresh_ttl":      {cfg.RefreshTTL, 168 * time.Hour},
		"refresh_leeway":   {cfg.RefreshLeeway, 10 * time.Second},
		"retention":        {cfg.Retention, time.Duration(0)},
		"bcrypt_cost":      {cfg.BcryptCost, 10},
		"body_limit":       {cfg.BodyLimit, config.Bytes(1 << 20)},
		"batch_body_limit": {cfg.BatchBodyLimit, config.Bytes(16 << 20)},
		"shutdown_timeout": {cfg.ShutdownTimeout, 15 * time.Second},
		"log_level":        {cfg.LogLevel, slog.LevelInfo},
		"worker":           {cfg.Worker, true},
		"auth limit":       {cfg.RateLimits[config.LimitAuth], config.RateLimit{Count: 5, Per: time.Minute}},
		"exports limit":    {cfg.RateLimits[config.LimitExports], config.RateLimit{Count: 10, Per: time.Hour}},
		"streams limit":    {cfg.RateLimits[config.LimitStreams], config.RateLimit{Count: 30, Per: time.Minute}},
		"mqtt_addr":        {cfg.MQTTAddr, ""},
		"classes":          {len(cfg.RateLimits), 12},
	}
	for name, pair := range want {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v; want %v", name, pair[0], pair[1])
		}
	}
	if cfg.HashSlots() < 1 {
		t.Errorf("HashSlots() = %d", cfg.HashSlots())
	}
}

func TestEveryLayerGoesOverTheOneBefore(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "hearth.toml", `
addr = ":1"
access_ttl = "1m"
bcrypt_cost = 5
worker = true
signup = "closed"
trusted_proxies = ["10.0.0.0/8", "::1"]
`)
	cfg := load(t, config.Options{
		Environ: []string{"HEARTH_CONFIG=" + path, "HEARTH_ACCESS_TTL=2m", "HEARTH_SIGNUP=invite", "HOME=/root", "HEARTHSTONE=1"},
		Flags:   map[string]string{"signup": "open"},
	})
	if cfg.Addr != ":1" || cfg.AccessTTL != 2*time.Minute || cfg.Signup != config.SignupOpen || cfg.BcryptCost != 5 {
		t.Errorf("got %q %v %q %d; want the file's address, the environment's life, the flag's sign-up, the file's cost",
			cfg.Addr, cfg.AccessTTL, cfg.Signup, cfg.BcryptCost)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if !slices.Equal(cfg.TrustedProxies, want) {
		t.Errorf("TrustedProxies = %v; want %v", cfg.TrustedProxies, want)
	}
}

func TestAFractionInTheFileIsANumber(t *testing.T) {
	t.Parallel()
	cfg := load(t, config.Options{Environ: []string{"HEARTH_CONFIG=" + writeFile(t, "hearth.toml", "otlp_ratio = 0.5")}})
	if cfg.OTLPRatio != 0.5 {
		t.Errorf("OTLPRatio = %v; want 0.5", cfg.OTLPRatio)
	}
}

func TestTheFlagNamesTheFileBeforeTheEnvironment(t *testing.T) {
	t.Parallel()
	cfg := load(t, config.Options{
		Environ: []string{"HEARTH_CONFIG=" + filepath.Join(t.TempDir(), "absent.toml")},
		Flags:   map[string]string{"config": writeFile(t, "a.toml", `addr = ":7"`)},
	})
	if cfg.Addr != ":7" {
		t.Errorf("Addr = %q; want the file's :7", cfg.Addr)
	}
}

func TestAnEmptyValueStandsForTheDefault(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "hearth.toml", `addr = ":1"`)
	cfg := load(t, config.Options{Environ: []string{"HEARTH_ADDR=", "HEARTH_WORKER=", "HEARTH_CONFIG=" + path}})
	if cfg.Addr != ":8080" || !cfg.Worker {
		t.Errorf("Addr = %q, Worker = %v; want the defaults", cfg.Addr, cfg.Worker)
	}
}

func TestASecretCanComeFromAFile(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, "key", goodKey+"\n")
	cfg := load(t, config.Options{Environ: []string{"HEARTH_ENCRYPTION_KEY_FILE=" + secret}})
	if len(cfg.EncryptionKeys) != 1 {
		t.Fatalf("read %d keys; want 1", len(cfg.EncryptionKeys))
	}
	for _, environ := range [][]string{ // an empty variable is none, before and behind
		{"HEARTH_ENCRYPTION_KEY=", "HEARTH_ENCRYPTION_KEY_FILE=" + secret}, {"HEARTH_ENCRYPTION_KEY_FILE=" + secret, "HEARTH_ENCRYPTION_KEY="},
	} {
		if cfg := load(t, config.Options{Environ: environ}); len(cfg.EncryptionKeys) != 1 {
			t.Errorf("%q: read %d keys; want 1", environ, len(cfg.EncryptionKeys))
		}
	}
	refuse(t, "HEARTH_ENCRYPTION_KEY_FILE", config.Options{Environ: []string{"HEARTH_ENCRYPTION_KEY_FILE=/nowhere"}})
	refuse(t, "HEARTH_ENCRYPTION_KEY_FILE: the file ", config.Options{Environ: []string{"HEARTH_ENCRYPTION_KEY_FILE=" + writeFile(t, "empty", "\n")}})
	refuse(t, "HEARTH_ENCRYPTION_KEY is set, and so is HEARTH_ENCRYPTION_KEY_FILE",
		config.Options{Environ: []string{"HEARTH_ENCRYPTION_KEY_FILE=" + secret, "HEARTH_ENCRYPTION_KEY=" + otherKey}})
	refuse(t, "HEARTH_ADDR_FILE", config.Options{Environ: []string{"HEARTH_ADDR_FILE=" + secret}})
}

func TestAProblemNamesTheSettingAsItWasWritten(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		environ []string
		flags   map[string]string
		file    string
		want    string
	}{
		"unknown variable":         {environ: []string{"HEARTH_ADR=:1"}, want: "unknown setting HEARTH_ADR: did you mean HEARTH_ADDR?"},
		"variable like nothing":    {environ: []string{"HEARTH_FLUX_CAPACITOR=1"}, want: "unknown setting HEARTH_FLUX_CAPACITOR"},
		"variable in small":        {environ: []string{"HEARTH_addr=:1"}, want: "unknown setting HEARTH_addr"},
		"the bare prefix":          {environ: []string{"HEARTH_=1"}, want: "unknown setting HEARTH_"},
		"unknown file key":         {file: `acess_ttl = "1m"`, want: "unknown setting acess_ttl in hearth.toml: did you mean access_ttl?"},
		"table in the file":        {file: "[rate_limits]\nauth = '5/1m'", want: "unknown setting rate_limits.auth in hearth.toml"},
		"config in the file":       {file: `config = "other.toml"`, want: "unknown setting config in hearth.toml"},
		"unknown flag":             {flags: map[string]string{"data_dirr": "x"}, want: "unknown setting --data-dirr: did you mean --data-dir?"},
		"number for a duration":    {file: `access_ttl = 15`, want: "access_ttl in hearth.toml must be a duration"},
		"fraction in the file":     {file: `bcrypt_cost = 10.5`, want: "bcrypt_cost in hearth.toml must be"},
		"list of numbers":          {file: `trusted_proxies = [1]`, want: "trusted_proxies in hearth.toml must be a list of texts"},
		"not TOML":                 {file: "addr = ':1'\naddr_two = = ", want: "hearth.toml: line 2, column 12: "},
		"bad duration":             {environ: []string{"HEARTH_ACCESS_TTL=soon"}, want: "HEARTH_ACCESS_TTL must be a duration"},
		"duration over its bound":  {flags: map[string]string{"shutdown_timeout": "16s"}, want: "--shutdown-timeout must be at most 15s, not 16s"},
		"duration under its bound": {environ: []string{"HEARTH_RETENTION=1s"}, want: "HEARTH_RETENTION must be at least 1m, not 1s, or off"},
		"bad number":               {environ: []string{"HEARTH_BCRYPT_COST=ten"}, want: "HEARTH_BCRYPT_COST must be a whole number"},
		"cost too low":             {environ: []string{"HEARTH_BCRYPT_COST=3"}, want: "HEARTH_BCRYPT_COST must be at least 4, not 3"},
		"cost too high":            {environ: []string{"HEARTH_BCRYPT_COST=16"}, want: "HEARTH_BCRYPT_COST must be at most 15"},
		"bad switch":               {environ: []string{"HEARTH_WORKER=maybe"}, want: "HEARTH_WORKER must be true or false"},
		"bad word":                 {environ: []string{"HEARTH_SIGNUP=opened"}, want: "did you mean open?"},
		"bad level":                {environ: []string{"HEARTH_LOG_LEVEL=verbose"}, want: "HEARTH_LOG_LEVEL must be one of debug"},
		"bad form":                 {environ: []string{"HEARTH_LOG_FORMAT=xml"}, want: "HEARTH_LOG_FORMAT must be one of auto, text, json"},
		"address without port":     {environ: []string{"HEARTH_ADDR=localhost"}, want: "HEARTH_ADDR must be host:port"},
		"port out of range":        {environ: []string{"HEARTH_ADDR=:65536"}, want: "HEARTH_ADDR must be host:port"},
		"port by name":             {environ: []string{"HEARTH_ADDR=:http"}, want: "HEARTH_ADDR must be host:port"},
		"an API on two listeners":  {environ: []string{"HEARTH_ADDR=127.0.0.1:8443", "HEARTH_TLS_ADDR=:8443", "HEARTH_TLS_CERT=c", "HEARTH_TLS_KEY=k"}, want: "HEARTH_TLS_ADDR must not be the address of addr"},
		"MQTT where the API is":    {environ: []string{"HEARTH_MQTT_ADDR=0.0.0.0:08080"}, want: "HEARTH_MQTT_ADDR must not be the address of addr"},
		"a host that is none":      {environ: []string{"HEARTH_ADDR=*:8080"}, want: "HEARTH_ADDR must have the name or the address of an interface"},
		"a public URL with a path": {environ: []string{"HEARTH_PUBLIC_URL=https://home.example/hearth/"}, want: "HEARTH_PUBLIC_URL must be a scheme and a host"},
		"… with a query":           {environ: []string{"HEARTH_PUBLIC_URL=https://home.example?"}, want: "HEARTH_PUBLIC_URL must be a scheme and a host"},
		"… with a user":            {environ: []string{"HEARTH_PUBLIC_URL=https://ann@home.example"}, want: "HEARTH_PUBLIC_URL must be a scheme and a host"},
		"an archive of nothing":    {environ: []string{"HEARTH_ARCHIVE=on"}, want: "HEARTH_ARCHIVE needs retention"},
		"a network that is none":   {environ: []string{"HEARTH_TRUSTED_PROXIES=::ffff:0:0/80"}, want: "HEARTH_TRUSTED_PROXIES must hold networks of IPv4 addresses as such"},
		"a location in a location": {environ: []string{"HEARTH_ACCEL_REDIRECT=/files/../"}, want: "HEARTH_ACCEL_REDIRECT must be a location of nginx"},
		"a location with a line":   {environ: []string{"HEARTH_ACCEL_REDIRECT=/a b/"}, want: "HEARTH_ACCEL_REDIRECT must be a location of nginx"},
		"the location of all":      {environ: []string{"HEARTH_ACCEL_REDIRECT=/"}, want: "HEARTH_ACCEL_REDIRECT must be a location of nginx"},
		"a public URL of any host": {environ: []string{"HEARTH_PUBLIC_URL=https://*.example.com"}, want: "HEARTH_PUBLIC_URL must have the name or the address of a host"},
		"… of no port":             {environ: []string{"HEARTH_PUBLIC_URL=https://home.example:99999"}, want: "HEARTH_PUBLIC_URL must have the name or the address of a host"},
		"files sent by nobody":     {environ: []string{"HEARTH_ACCEL_REDIRECT=/files/"}, want: "HEARTH_ACCEL_REDIRECT needs trusted_proxies"},
		"a host of several":        {environ: []string{"HEARTH_STORE_URL=mongodb://u:hunter2@a:27017,b:0/hearth"}, want: "HEARTH_STORE_URL must have the name or the address of a host"},
		"a password with a slash":  {environ: []string{"HEARTH_STORE_URL=mongodb://u:hunter2/x@h/hearth"}, want: "HEARTH_STORE_URL"},
		"a mailbox without domain": {environ: []string{"HEARTH_MAIL_FROM=hearth@-x.example"}, want: "HEARTH_MAIL_FROM must have a domain behind its @"},
		"a time of day that moves": {environ: []string{"HEARTH_BACKUP_SCHEDULE=25h@03:30"}, want: "HEARTH_BACKUP_SCHEDULE must come several times a day or every few days"},
		"both on one address":      {environ: []string{"HEARTH_ADDR=127.0.0.1:9090"}, want: "admin_addr must not be the address of the API"},
		"HTTPS, no certificate":    {environ: []string{"HEARTH_TLS_ADDR=:8443"}, want: "HEARTH_TLS_ADDR needs tls_cert and tls_key"},
		"other database":           {environ: []string{"HEARTH_STORE_URL=postgres://u:hunter2@h/d"}, want: "HEARTH_STORE_URL must be a URL that begins with mongodb://"},
		"port that is no number":   {environ: []string{"HEARTH_STORE_URL=mongodb://h:port/hearth"}, want: "HEARTH_STORE_URL cannot be read: look at its host and port"},
		"password not encoded":     {environ: []string{"HEARTH_STORE_URL=mongodb://u:50%off@h/hearth"}, want: "HEARTH_STORE_URL cannot be read: look at"},
		"URL without host":         {environ: []string{"HEARTH_REDIS_URL=redis://"}, want: "HEARTH_REDIS_URL must be a URL"},
		"address for a URL":        {environ: []string{"HEARTH_REDIS_URL=localhost:6379"}, want: "HEARTH_REDIS_URL must be a URL"},
		"directory of a host":      {environ: []string{"HEARTH_BLOB_URL=file://mnt/hearth"}, want: "HEARTH_BLOB_URL must name a directory by its whole path"},
		"path for a bucket":        {environ: []string{"HEARTH_BLOB_URL=/tmp/blobs"}, want: "HEARTH_BLOB_URL must be a URL that begins with s3://"},
		"bad mailbox":              {environ: []string{"HEARTH_MAIL_FROM=nobody"}, want: "HEARTH_MAIL_FROM must be a mail address"},
		"line break in a mailbox":  {environ: []string{"HEARTH_MAIL_FROM=a@b\r\nBcc: c@d"}, want: "HEARTH_MAIL_FROM must be a mail address"},
		"bad network":              {environ: []string{"HEARTH_TRUSTED_PROXIES=10.0.0.0/33"}, want: "HEARTH_TRUSTED_PROXIES must hold networks"},
		"host for a network":       {environ: []string{"HEARTH_TRUSTED_PROXIES=nginx"}, want: "HEARTH_TRUSTED_PROXIES must hold networks"},
		"origin with a path":       {environ: []string{"HEARTH_ALLOWED_ORIGINS=https://a.example/"}, want: "HEARTH_ALLOWED_ORIGINS must hold origins"},
		"origin with a wildcard":   {environ: []string{"HEARTH_ALLOWED_ORIGINS=https://*.example.com"}, want: "HEARTH_ALLOWED_ORIGINS must hold the names of hosts"},
		"origin with an odd host":  {environ: []string{"HEARTH_ALLOWED_ORIGINS=https://a_b.example"}, want: "HEARTH_ALLOWED_ORIGINS must hold the names of hosts"},
		"origin with port 0":       {environ: []string{"HEARTH_ALLOWED_ORIGINS=https://a.example:0"}, want: "HEARTH_ALLOWED_ORIGINS must have a port"},
		"origin without scheme":    {environ: []string{"HEARTH_ALLOWED_ORIGINS=a.example"}, want: "HEARTH_ALLOWED_ORIGINS must hold origins"},
		"origin of no IPv4":        {environ: []string{"HEARTH_ALLOWED_ORIGINS=https://256.1.1.1"}, want: "HEARTH_ALLOWED_ORIGINS must hold the names of hosts"},
		"origin with short IPv4":   {environ: []string{"HEARTH_ALLOWED_ORIGINS=https://1.2.3"}, want: "HEARTH_ALLOWED_ORIGINS must hold the names of hosts"},
		"origin with mapped IPv4":  {environ: []string{"HEARTH_ALLOWED_ORIGINS=https://[::ffff:1.2.3.4]"}, want: "HEARTH_ALLOWED_ORIGINS must hold the names of hosts"},
		"origin with a zone":       {environ: []string{"HEARTH_ALLOWED_ORIGINS=https://[fe80::1%25eth0]"}, want: "HEARTH_ALLOWED_ORIGINS must hold the names of hosts"},
		"origin with empty label":  {environ: []string{"HEARTH_ALLOWED_ORIGINS=https://a..example"}, want: "HEARTH_ALLOWED_ORIGINS must hold the names of hosts"},
		"proxy without address":    {environ: []string{"HEARTH_TRUSTED_PROXIES=0.0.0.0"}, want: "HEARTH_TRUSTED_PROXIES must hold addresses that clients can have"},
		"a public URL of two":      {environ: []string{"HEARTH_PUBLIC_URL=https://a.example,b.example"}, want: "HEARTH_PUBLIC_URL must name one host"},
		"a public URL of all":      {environ: []string{"HEARTH_PUBLIC_URL=http://0.0.0.0:8080"}, want: "HEARTH_PUBLIC_URL must be an address that browsers can open"},
		"two mail servers":         {environ: []string{"HEARTH_SMTP_URL=smtp://a.example,b.example"}, want: "HEARTH_SMTP_URL must name one host"},
		"two Redis servers":        {environ: []string{"HEARTH_REDIS_URL=redis://a:6379,b:6379/0"}, want: "HEARTH_REDIS_URL must name one host"},
		"a URL with a fragment":    {environ: []string{"HEARTH_SMTP_URL=smtp://a.example#x"}, want: "HEARTH_SMTP_URL must not have a #"},
		"a folder with a fragment": {environ: []string{"HEARTH_BLOB_URL=file:///mnt/a#b"}, want: "HEARTH_BLOB_URL must name a directory by its whole path"},
		"unknown class":            {environ: []string{"HEARTH_RATE_LIMITS=atuh=5/1m"}, want: `HEARTH_RATE_LIMITS has no class "atuh": did you mean auth?`},
		"unknown queue":            {environ: []string{"HEARTH_QUEUE_CONCURRENCY=exports=1"}, want: `HEARTH_QUEUE_CONCURRENCY has no queue "exports": did you mean export?`},
		"too many jobs at once":    {environ: []string{"HEARTH_QUEUE_CONCURRENCY=export=1001"}, want: "HEARTH_QUEUE_CONCURRENCY queue export: must be a number from 0 to 1000"},
		"bad size":                 {environ: []string{"HEARTH_BODY_LIMIT=1MB"}, want: "HEARTH_BODY_LIMIT must be a size"},
		"size over its bound":      {environ: []string{"HEARTH_BODY_LIMIT=65MiB"}, want: "HEARTH_BODY_LIMIT must be at most 64MiB, not 65MiB"},
		"two sizes the wrong way":  {environ: []string{"HEARTH_BATCH_BODY_LIMIT=512KiB"}, want: "HEARTH_BATCH_BODY_LIMIT must not be smaller than body_limit"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := config.Options{Environ: tt.environ, Flags: tt.flags}
			if tt.file != "" {
				opts.Environ = append(opts.Environ, "HEARTH_CONFIG="+writeFile(t, "hearth.toml", tt.file))
			}
			if got := refuse(t, tt.want, opts); strings.Contains(got, "hunter2") {
				t.Errorf("the message gives the password away: %s", got)
			}
		})
	}
}

// Names of hosts are asked for in ASCII, however they are written.
func TestHostsAreAskedForInASCII(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(config.Options{Environ: []string{
		"HEARTH_PUBLIC_URL=https://Bücher.example:8443", "HEARTH_SMTP_URL=smtp://u:p@bücher.example:587", "HEARTH_MAIL_FROM=Büro <post@bücher.example>",
		"HEARTH_STORE_URL=mongodb://bücher.example:27017,localhost/hearth", "HEARTH_REDIS_URL=redis://[::1]:6379/0", "HEARTH_OTLP_ENDPOINT=http://bücher.example",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		cfg.PublicURL: "https://xn--bcher-kva.example:8443", cfg.SMTPURL: "smtp://u:p@xn--bcher-kva.example:587",
		cfg.MailFrom: "=?utf-8?q?B=C3=BCro?= <post@xn--bcher-kva.example>", cfg.StoreURL: "mongodb://xn--bcher-kva.example:27017,localhost/hearth",
		cfg.RedisURL: "redis://[::1]:6379/0", cfg.OTLPEndpoint: "http://xn--bcher-kva.example",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	got := refuse(t, "HEARTH_ADDR", config.Options{Environ: []string{"HEARTH_ADDR=x", "HEARTH_SINGUP=open", "HEARTH_LOG_LEVEL=loud"}})
	for _, want := range []string{"HEARTH_SINGUP", "HEARTH_LOG_LEVEL"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not name %s", got, want)
		}
	}
}

func TestWeakKeysAreRefused(t *testing.T) {
	t.Parallel()
	weak := map[string]string{
		"all zero":       "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"one byte":       "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
		"two bytes":      "AAEAAQABAAEAAQABAAEAAQABAAEAAQABAAEAAQABAAE=",
		"counting":       "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		"a sentence":     "dGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyLi4=",
		"hexadecimal":    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"16 bytes":       "3q2+7wTkGv9Zc1xXo5JmQw==",
		"33 bytes":       "3q2+7wTkGv9Zc1xXo5JmQyLr8hUeWn4BtD6sKpA0fIgB",
		"no base64":      "secret",
		"the same twice": goodKey + "," + goodKey,
	}
	for name, key := range weak {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := refuse(t, "HEARTH_ENCRYPTION_KEY ", config.Options{Environ: []string{"HEARTH_ENCRYPTION_KEY=" + key}})
			if strings.Contains(got, key) {
				t.Errorf("the message repeats the key: %s", got)
			}
		})
	}
	cfg := load(t, config.Options{Environ: []string{"HEARTH_ENCRYPTION_KEY=" + goodKey + ", " + otherKey}})
	if len(cfg.EncryptionKeys) != 2 {
		t.Errorf("read %d keys; want 2", len(cfg.EncryptionKeys))
	}
}

func TestPrintHidesEverySecret(t *testing.T) {
	t.Parallel()
	cfg := load(t, config.Options{Environ: []string{
		"HEARTH_STORE_URL=mongodb://anna:hunter2@a:27017,b:27017/hearth?replicaSet=rs0",
		"HEARTH_REDIS_URL=redis://:hunter2@localhost:6379/0",
		"HEARTH_BLOB_URL=s3://bucket?endpoint=localhost:9000&access_key=AKhunter2&secret_key=hunter2",
		"HEARTH_SMTP_URL=smtp://anna:hunter2@localhost:587",
		"HEARTH_OTLP_ENDPOINT=http://localhost:4318?token=hunter2",
		"HEARTH_ENCRYPTION_KEY=" + goodKey,
	}})
	got := printed(t, cfg)
	for _, form := range []string{got, fmt.Sprint(cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg), cfg.LogValue().String()} {
		for _, secret := range []string{"hunter2", "anna", goodKey} {
			if strings.Contains(form, secret) {
				t.Errorf("%q is in the print:\n%s", secret, form)
			}
		}
	}
	for _, want := range []string{
		`# store_url = "mongodb://REDACTED@a:27017,b:27017/hearth?replicaSet=rs0" # HEARTH_STORE_URL`,
		`# encryption_key = "REDACTED" # HEARTH_ENCRYPTION_KEY`,
		"endpoint=localhost",
		"\nbcrypt_cost = 10\n", "\nworker = true\n", "\naddr = \":8080\"\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in the print:\n%s", want, got)
		}
	}
}

func TestAPrintHidesNothingWhereNothingWasSet(t *testing.T) {
	t.Parallel()
	got := printed(t, load(t, config.Options{}))
	if strings.Contains(got, "REDACTED") || !strings.Contains(got, "\nredis_url = \"\"\n") {
		t.Errorf("the print of the defaults:\n%s", got)
	}
}

func TestAPrintReadsBackAsTheSameSettings(t *testing.T) {
	t.Parallel()
	want := load(t, config.Options{Environ: []string{
		"HEARTH_ADDR=127.0.0.1:0", "HEARTH_ADMIN_ADDR=off", "HEARTH_RETENTION=90d", "HEARTH_CACHE_SIZE=off", "HEARTH_BODY_LIMIT=2MiB",
		"HEARTH_TRUSTED_PROXIES=10.1.2.3/8,192.168.0.1", "HEARTH_ALLOWED_ORIGINS=https://A.example,http://localhost:5173",
		`HEARTH_DATA_DIR=C:\"quoted"` + "\t\n", "HEARTH_RATE_LIMITS=off", "HEARTH_LOG_LEVEL=warn", "HEARTH_STORE_URL=mongodb://a/b",
		"HEARTH_REDIS_URL=redis://r/0", "HEARTH_BLOB_URL=file:///mnt/hearth",
		"HEARTH_QUEUE_CONCURRENCY=cleanup=0,export=7", "HEARTH_SLOW_QUERY=off", "HEARTH_MAIL_FROM=Hütte <a@b.example>",
	}})
	got := load(t, config.Options{Flags: map[string]string{"config": writeFile(t, "printed.toml", printed(t, want))}})
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Config{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestTheGuideListsEverySetting(t *testing.T) {
	t.Parallel()
	const path, begin, end = "../../docs/reference/configuration.md", "<!-- settings begin -->\n", "<!-- settings end -->"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks around the settings", path)
	}
	want := before + begin + config.Table() + "\n" + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("%s is stale; go test ./internal/config -update writes it anew (-want +got):\n%s", path, diff)
	}
	for _, s := range config.Settings() {
		if s.Help == "" || s.Group == "" {
			t.Errorf("%s has no help or no group", s.Key)
		}
	}
}

func load(t *testing.T, opts config.Options) *config.Config {
	t.Helper()
	cfg, err := config.Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// refuse fails the test unless Load returns an error that holds want; it returns the error's text.
func refuse(t *testing.T, want string, opts config.Options) string {
	t.Helper()
	cfg, err := config.Load(opts)
	if err == nil {
		t.Fatalf("Load gave %+v; want an error with %q", cfg, want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %q; want it to hold %q", err, want)
	}
	return err.Error()
}

func printed(t *testing.T, cfg *config.Config) string {
	t.Helper()
	var b strings.Builder
	if err := cfg.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatIsAllowedAndAdvisedAgainst(t *testing.T) {
	t.Parallel()
	const store, redis, files = "HEARTH_STORE_URL=mongodb://h/d", "HEARTH_REDIS_URL=redis://h/0", "HEARTH_BLOB_URL=s3://b?endpoint=h:1"
	for _, test := range []struct {
		environ []string
		want    []string // each names what is to be set
	}{
		{nil, nil},
		{[]string{store, redis, files}, nil},
		{[]string{files}, nil},
		{[]string{store}, []string{"need a redis_url", "need a blob_url"}},
		{[]string{store, redis}, []string{"need a blob_url"}},
		{[]string{redis}, []string{"set store_url too"}},
		{[]string{"HEARTH_TRUSTED_PROXIES=10.0.0.0/8,::/0"}, []string{"name the proxies alone"}},
	} {
		got := load(t, config.Options{Environ: test.environ}).Advice()
		if len(got) != len(test.want) {
			t.Errorf("%v: %q", test.environ, got)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%v: %q does not say %q", test.environ, got[i], want)
			}
		}
	}
}

func TestOriginsAreReadAsBrowsersSendThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"HTTPS://Home.Example": "https://home.example", "https://home.example:443": "https://home.example", "http://home.example:80": "http://home.example",
		"http://home.example:443": "http://home.example:443", "https://home.example:0443": "https://home.example", "https://Bücher.example": "https://xn--bcher-kva.example",
		"http://[2001:DB8:0::1]:8080": "http://[2001:db8::1]:8080", "http://127.0.0.1": "http://127.0.0.1", "*": "*", "http://localhost:5173": "http://localhost:5173",
	} {
		cfg, err := config.Load(config.Options{Environ: []string{"HEARTH_ALLOWED_ORIGINS=" + text}})
		if err != nil || len(cfg.AllowedOrigins) != 1 || cfg.AllowedOrigins[0] != want {
			t.Errorf("%s is read as %v, %v, want %s", text, cfg.AllowedOrigins, err, want)
		}
	}
	cfg, err := config.Load(config.Options{Environ: []string{"HEARTH_TRUSTED_PROXIES=::ffff:10.1.2.3/104,::ffff:192.0.2.1"}})
	if err != nil || len(cfg.TrustedProxies) != 2 || cfg.TrustedProxies[0].String() != "10.0.0.0/8" || cfg.TrustedProxies[1].String() != "192.0.2.1/32" {
		t.Errorf("mapped networks are read as %v, %v", cfg.TrustedProxies, err)
	}
}
