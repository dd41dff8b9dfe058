import{Et as e,N as t,S as n,_t as r,ct as i,ft as a,h as o,j as s,jt as c,kt as l,l as u,m as d,o as f,q as p,s as m,u as h}from"./kit-DVDF9Jft.js";import{i as g}from"./fleet-CK4HHAkR.js";import{a as _}from"./index-Ds4a5SFd.js";function v({close:e,orgs:r}){let[s,u]=l(a),[f,p]=l(``),[m,_]=l(null);if(m)return t(h,{title:`Connect ${m.device.name}`,close:e,wide:!0,children:t(b,{...m,leave:e})});let v=r.filter(e=>e.role!==`viewer`);return t(h,{title:`Add a device`,close:e,children:t(o,{submit:`Add and get its token`,onFields:()=>u(a()),send:async({name:e=``,type:t,tags:n=``})=>{let r=await i.createDevice({name:e,type:t?.trim()||`sensor`,tags:g(n),...f&&{organization_id:f}},{idempotencyKey:s});_({device:r,token:await i.createDeviceToken(r.id,{})})},children:e=>t(c,{children:[t(d,{label:`Name`,name:`name`,required:!0,autofocus:!0,maxLength:200,placeholder:`Kitchen sensor`,autocomplete:`off`,error:e?.fields.name}),t(d,{label:`Type`,name:`type`,placeholder:`sensor`,maxLength:64,autocomplete:`off`,hint:`What kind of device it is, such as sensor, plug or thermostat`,error:e?.fields.type}),t(d,{label:`Tags (optional)`,name:`tags`,placeholder:`kitchen, ground floor`,autocomplete:`off`,error:e?.fields.tags}),v.length>0&&t(n,{label:`Belongs to`,value:f,onPick:p,options:[[``,`You`],...v.map(e=>[e.id,e.name])]})]})})})}var y=[[`curl`,`curl`],[`mqtt`,`MQTT`],[`arduino`,`Arduino`],[`go`,`Go`],[`python`,`Python`]];function b({device:e,token:{id:n,token:i},leave:a}){let[o,d]=l(`curl`),h=x(e,n);return t(c,{children:[t(`div`,{class:`token`,children:[t(`div`,{children:[t(`b`,{children:`Token of the device`}),t(`small`,{class:`soft`,children:`It is shown only now: copy it, or make another one later.`}),t(`code`,{children:i})]}),t(u,{text:i,label:`Copy token`})]}),t(`p`,{children:`Send a reading from the device, or from this computer to try it:`}),t(f,{label:`Language`,options:y,value:o,onPick:d}),t(m,{text:S(o,e.id,i),label:`Lines for ${o}`}),o===`mqtt`&&!r(`mqtt`)&&!r(`mqtts`)&&t(`p`,{class:`wrong`,children:`MQTT is off on this server: it must be started with HEARTH_MQTT_ADDR=:1883.`}),t(`div`,{class:h?`first good`:`first`,role:`status`,children:h?t(c,{children:[t(s,{name:`check`}),t(`span`,{children:[t(`b`,{children:`It works.`}),` The first reading: `,h.event,` = `,p(h.value)]})]}):t(c,{children:[t(`span`,{class:`pulse`}),t(`span`,{children:`Waiting for the first reading …`})]})}),t(`div`,{class:`form-foot`,children:t(`a`,{class:h?`button main`:`button quiet`,href:`/devices/${e.id}`,onClick:a,children:`Open the device`})})]})}function x(t,n){let[r,a]=l(null);return e(()=>{if(r)return;let e=async()=>{if(t.last_active_at!==null){let{items:e}=await i.listDeviceTokens(t.id,{limit:200});if(!e.some(e=>e.id===n&&e.last_used_at!==null))return}let e=await i.latestLogs(t.id);a(e.items.sort((e,t)=>t.timestamp.localeCompare(e.timestamp))[0]??null)},o=()=>void e().catch(()=>void 0),s=setInterval(o,5e3),c=_(`device-log`,e=>{e.device_id===t.id&&o()});return()=>{clearInterval(s),c()}},[t.id,n,r]),r}function S(e,t,n){let i=`${location.origin}/api/v1/devices/${t}/logs`;switch(e){case`mqtt`:return`mosquitto_pub -h ${location.hostname} -p ${r(`mqtt`)||r(`mqtts`)||1883} -q 1 \\
  ${!r(`mqtt`)&&r(`mqtts`)?`--capath /etc/ssl/certs `:``}-u device -P '${n}' \\
  -t t -m '{"temperature": 21.5}'`;case`arduino`:return`#include <WiFi.h>
#include <HTTPClient.h>

void setup() {
  WiFi.begin("YOUR-WIFI", "PASSWORD");
  while (WiFi.status() != WL_CONNECTED) delay(100);
}

void loop() {
  HTTPClient http;
  http.begin("${i}");
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
	req, err := http.NewRequest("POST", "${i}", body)
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
    "${i}",
    data=json.dumps({"event": "temperature", "value": 21.5}).encode(),
    headers={
        "Authorization": "Bearer ${n}",
        "Content-Type": "application/json",
    },
)
print(urllib.request.urlopen(request).read().decode())`;default:return`curl -X POST ${i} \\
  -H 'Authorization: Bearer ${n}' \\
  -H 'Content-Type: application/json' \\
  -d '{"event": "temperature", "value": 21.5}'`}}export{b as n,v as t};