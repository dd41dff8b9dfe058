package mail

import (
	_ "embed"
	"fmt"
	"html"
	"strconv"
	"strings"
)

// The page is written without html/template: a program that holds it keeps every exported method of every type, 14 MB of this one.

//go:embed email.css
var pageStyle string

// text returns the page as plain text.
func (p page) text(name, publicURL string) string {
	var out strings.Builder
	out.WriteString(p.Title + "\n\n")
	if name != "" {
		out.WriteString("Hello " + name + ",\n\n")
	}
	for _, line := range p.Lines {
		out.WriteString(line + "\n\n")
	}
	for _, f := range p.Facts {
		out.WriteString(f.Name + ": " + f.Value + "\n")
	}
	if len(p.Facts) > 0 {
		out.WriteString("\n")
	}
	for _, c := range p.Charts {
		out.WriteString(c.caption() + "\n\n")
	}
	out.WriteString(p.Button + ":\n" + p.URL + "\n")
	if p.Note != "" {
		out.WriteString("\n" + p.Note + "\n")
	}
	out.WriteString("\n--\nhearth at " + publicURL + "\n")
	return out.String()
}

// html returns the page as HTML. Everything that is formatted into it is escaped.
func (p page) html(name, publicURL string) string {
	var out strings.Builder
	write := func(format string, values ...any) {
		for i, value := range values {
			values[i] = html.EscapeString(fmt.Sprint(value))
		}
		fmt.Fprintf(&out, format, values...)
	}
	write(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>%s</title>
<style>
`, p.Subject)
	out.WriteString(pageStyle)
	write(`</style>
</head>
<body class="page" style="margin:0;padding:0;background:#f3f4f6;">
<table role="presentation" class="page" width="100%%" cellpadding="0" cellspacing="0" style="background:#f3f4f6;">
<tr><td align="center" style="padding:32px 16px;">
<table role="presentation" width="100%%" cellpadding="0" cellspacing="0" style="max-width:560px;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;">
<tr><td class="soft" style="padding:0 4px 16px;font-size:15px;font-weight:600;letter-spacing:.02em;color:#6b7280;">hearth</td></tr>
<tr><td class="card" style="background:#ffffff;border:1px solid #e2e5ea;border-radius:12px;padding:32px;">
`)
	class, colour := "ink", "#16181d"
	if p.Alarm {
		class, colour = "alarm", "#b3361f"
	}
	write(`<h1 class="%s" style="margin:0 0 20px;font-size:22px;line-height:1.3;font-weight:650;color:%s;">%s</h1>`+"\n", class, colour, p.Title)
	lines := p.Lines
	if name != "" {
		lines = append([]string{"Hello " + name + ","}, lines...)
	}
	for _, line := range lines {
		write(`<p class="ink" style="margin:0 0 14px;font-size:16px;line-height:1.55;color:#2b3038;">%s</p>`+"\n", line)
	}
	if len(p.Facts) > 0 {
		write(`<table role="presentation" width="100%%" cellpadding="0" cellspacing="0" style="margin:8px 0 14px;">` + "\n")
		for _, f := range p.Facts {
			write(`<tr>
<td class="soft line" style="padding:9px 16px 9px 0;border-top:1px solid #e2e5ea;font-size:14px;color:#6b7280;white-space:nowrap;vertical-align:top;">%s</td>
<td class="ink line" width="100%%" style="padding:9px 0;border-top:1px solid #e2e5ea;font-size:14px;color:#2b3038;word-break:break-word;">%s</td>
</tr>
`, f.Name, f.Value)
		}
		write("</table>\n")
	}
	if len(p.Charts) > 0 {
		alt := make([]string, len(p.Charts))
		for i, c := range p.Charts {
			alt[i] = c.caption()
		}
		write(`<p style="margin:0 0 6px;"><img src="cid:%s" width="%s" alt="%s" style="display:block;width:100%%;max-width:%[2]spx;height:auto;border:0;"></p>
`, PictureID, strconv.Itoa(chartWidth/2), strings.Join(alt, " "))
	}
	for _, c := range p.Charts {
		write(`<p class="soft" style="margin:0 0 14px;font-size:13px;line-height:1.5;color:#6b7280;">%s</p>
`, c.caption())
	}
	write(`<p style="margin:22px 0 0;"><a class="button" href="%s" style="display:inline-block;padding:12px 22px;border-radius:8px;`+
		`background:#b4530a;color:#ffffff;font-size:16px;font-weight:600;text-decoration:none;">%s</a></p>`+"\n", p.URL, p.Button)
	if p.Note != "" {
		write(`<p class="soft" style="margin:22px 0 0;font-size:14px;line-height:1.5;color:#6b7280;">%s</p>`+"\n", p.Note)
	}
	write(`</td></tr>
<tr><td class="soft" style="padding:18px 4px 0;font-size:13px;line-height:1.5;color:#6b7280;word-break:break-all;">
If the button does not work, open this address: <a class="soft" href="%[1]s" style="color:#6b7280;">%[1]s</a><br>
hearth at <a class="soft" href="%[2]s" style="color:#6b7280;">%[2]s</a>
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
`, p.URL, publicURL)
	return out.String()
}
