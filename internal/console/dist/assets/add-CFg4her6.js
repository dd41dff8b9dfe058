import{At as e,Et as t,N as n,Ot as r,S as i,_t as a,ct as o,ft as s,h as c,j as l,l as u,m as d,o as f,q as p,s as m,u as h}from"./kit-Cyuy21b_.js";import{i as g}from"./fleet-BW0bm4ci.js";import{a as _}from"./index-Ct7TapZc.js";function v({close:t,orgs:a}){let[l,u]=r(s),[f,p]=r(``),[m,_]=r(null);if(m)return n(h,{title:`Connect ${m.device.name}`,close:t,wide:!0,children:n(b,{...m,leave:t})});let v=a.filter(e=>e.role!==`viewer`);return n(h,{title:`Add a device`,close:t,children:n(c,{submit:`Add and get its token`,onFields:()=>u(s()),send:async({name:e=``,type:t,tags:n=``})=>{let r=await o.createDevice({name:e,type:t?.trim()||`sensor`,tags:g(n),...f&&{organization_id:f}},{idempotencyKey:l});_({device:r,token:await o.createDeviceToken(r.id,{})})},children:t=>n(e,{children:[n(d,{label:`Name`,name:`name`,required:!0,autofocus:!0,maxLength:200,placeholder:`Kitchen sensor`,autocomplete:`off`,error:t?.fields.name}),n(d,{label:`Type`,name:`type`,placeholder:`sensor`,maxLength:64,autocomplete:`off`,hint:`What kind of device it is, such as sensor, plug or thermostat`,error:t?.fields.type}),n(d,{label:`Tags (optional)`,name:`tags`,placeholder:`kitchen, ground floor`,autocomplete:`off`,error:t?.fields.tags}),v.length>0&&n(i,{label:`Belongs to`,value:f,onPick:p,options:[[``,`You`],...v.map(e=>[e.id,e.name])]})]})})})}var y=[[`curl`,`curl`],[`mqtt`,`MQTT`],[`arduino`,`Arduino`],[`go`,`Go`],[`python`,`Python`]];function b({device:t,token:{id:i,token:o},leave:s}){let[c,d]=r(`curl`),h=x(t,i);return n(e,{children:[n(`div`,{class:`token`,children:[n(`div`,{children:[n(`b`,{children:`Token of the device`}),n(`small`,{class:`soft`,children:`It is shown only now: copy it, or make another one later.`}),n(`code`,{children:o})]}),n(u,{text:o,label:`Copy token`})]}),n(`p`,{children:`Send a reading from the device, or from this computer to try it:`}),n(f,{label:`Language`,options:y,value:c,onPick:d}),n(m,{text:S(c,t.id,o),label:`Lines for ${c}`}),c===`mqtt`&&!a(`mqtt`)&&!a(`mqtts`)&&n(`p`,{class:`wrong`,children:`MQTT is off on this server: it must be started with HEARTH_MQTT_ADDR=:1883.`}),n(`div`,{class:h?`first good`:`first`,role:`status`,children:h?n(e,{children:[n(l,{name:`check`}),n(`span`,{children:[n(`b`,{children:`It works.`}),` The first reading: `,h.event,` = `,p(h.value)]})]}):n(e,{children:[n(`span`,{class:`pulse`}),n(`span`,{children:`Waiting for the first reading …`})]})}),n(`div`,{class:`form-foot`,children:n(`a`,{class:h?`button main`:`button quiet`,href:`/devices/${t.id}`,onClick:s,children:`Open the device`})})]})}function x(e,n){let[i,a]=r(null);return t(()=>{if(i)return;let t=async()=>{if(e.last_active_at!==null){let{items:t}=await o.listDeviceTokens(e.id,{limit:200});if(!t.some(e=>e.id===n&&e.last_used_at!==null))return}let t=await o.latestLogs(e.id);a(t.items.sort((e,t)=>t.timestamp.localeCompare(e.timestamp))[0]??null)},r=()=>void t().catch(()=>void 0),s=setInterval(r,5e3),c=_(`device-log`,t=>{t.device_id===e.id&&r()});return()=>{clearInterval(s),c()}},[e.id,n,i]),i}function S(e,t,n){let r=`${location.origin}/api/v1/devices/${t}/logs`;switch(e){case`mqtt`:return`mosquitto_pub -h ${location.hostname} -p ${a(`mqtt`)||a(`mqtts`)||1883} -q 1 \\
  ${!a(`mqtt`)&&a(`mqtts`)?`--capath /etc/ssl/certs `:``}-u device -P '${n}' \\
  -t t -m '{"temperature": 21.5}'`;case`arduino`:return`#include <WiFi.h>
#include <HTTPClient.h>

void setup() {
  WiFi.begin("YOUR-WIFI", "PASSWORD");
  while (WiFi.status() != WL_CONNECTED) delay(100);
}

void loop() {
  HTTPClient http;
  http.begin("${r}");
  http.addHeader("Authorization", "Bearer ${n}");
  http.addHeader("Content-Type", "application/json");
  http.POST("{\\"event\\":\\"temperature\\",\\"value\\":21.5}");
  http.end();
  delay(60000);
}`;case`go`:return`package main

import (
	"log"
	"net/http"
	"strings"
)

func main() {
	body := strings.NewReader(\`{"event":"temperature","value":21.5}\`)
	req, err := http.NewRequest("POST", "${r}", body)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer ${n}")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	log.Println(resp.Status)
}`;case`python`:return`import json, urllib.request

request = urllib.request.Request(
    "${r}",
    data=json.dumps({"event": "temperature", "value": 21.5}).encode(),
    headers={
        "Authorization": "Bearer ${n}",
        "Content-Type": "application/json",
    },
)
print(urllib.request.urlopen(request).read().decode())`;default:return`curl -X POST ${r} \\
  -H 'Authorization: Bearer ${n}' \\
  -H 'Content-Type: application/json' \\
  -d '{"event": "temperature", "value": 21.5}'`}}export{b as n,v as t};