import{A as e,G as t,M as n,Z as r,_ as i,_t as a,h as o,ht as s,l as c,m as l,o as u,s as d,tt as f,u as p,x as m,yt as h}from"./kit-Bq8BkjFc.js";import{i as g}from"./fleet-DAO5nmqx.js";import{a as _}from"./index-D7sMSDbr.js";function v({close:e,orgs:t}){let[i]=a(f),[s,c]=a(``),[u,d]=a(null);if(u)return n(p,{title:`Connect ${u.device.name}`,close:e,wide:!0,children:n(b,{...u})});let _=t.filter(e=>e.role!==`viewer`);return n(p,{title:`Add a device`,close:e,children:n(o,{submit:`Add and get its token`,send:async({name:e=``,type:t,tags:n=``})=>{let a=await r.createDevice({name:e,type:t?.trim()||`sensor`,tags:g(n),...s&&{organization_id:s}},{idempotencyKey:i}),{token:o}=await r.createDeviceToken(a.id,{});d({device:a,token:o})},children:e=>n(h,{children:[n(l,{label:`Name`,name:`name`,required:!0,autofocus:!0,maxLength:100,placeholder:`Kitchen sensor`,autocomplete:`off`,error:e?.fields.name}),n(l,{label:`Type`,name:`type`,placeholder:`sensor`,maxLength:64,autocomplete:`off`,hint:`What kind of device it is, such as sensor, plug or thermostat`,error:e?.fields.type}),n(l,{label:`Tags (optional)`,name:`tags`,placeholder:`kitchen, ground floor`,autocomplete:`off`,error:e?.fields.tags}),_.length>0&&n(m,{label:`Belongs to`,value:s,onPick:c,options:[[``,`You`],..._.map(e=>[e.id,e.name])]})]})})})}var y=[[`curl`,`curl`],[`mqtt`,`MQTT`],[`arduino`,`Arduino`],[`go`,`Go`],[`python`,`Python`]];function b({device:r,token:o}){let[s,l]=a(`curl`),f=x(r.id);return n(h,{children:[n(`div`,{class:`token`,children:[n(`div`,{children:[n(`b`,{children:`Token of the device`}),n(`small`,{class:`soft`,children:`It is shown only now: copy it, or make another one later.`}),n(`code`,{children:o})]}),n(c,{text:o,label:`Copy token`})]}),n(`p`,{children:`Send a reading from the device, or from this computer to try it:`}),n(u,{label:`Language`,options:y,value:s,onPick:l}),n(d,{text:S(s,r.id,o),label:`Lines for ${s}`}),s===`mqtt`&&n(`p`,{class:`soft small`,children:[`MQTT must be on: set `,n(`code`,{children:`HEARTH_MQTT_ADDR`}),` on the server.`]}),n(`div`,{class:f?`first good`:`first`,role:`status`,children:f?n(h,{children:[n(e,{name:`check`}),n(`span`,{children:[n(`b`,{children:`It works.`}),` The first reading: `,f.event,` = `,t(f.value)]})]}):n(h,{children:[n(`span`,{class:`pulse`}),n(`span`,{children:`Waiting for the first reading …`})]})}),n(`div`,{class:`form-foot`,children:n(i,{look:f?`main`:`quiet`,href:`/devices/${r.id}`,children:`Open the device`})})]})}function x(e){let[t,n]=a(null);return s(()=>{let t=async()=>{let t=await r.latestLogs(e).catch(()=>null);t?.items[0]&&n(t.items[0])},i=setInterval(()=>void t(),5e3),a=_(`device-log`,t=>{if(t.device_id!==e)return;if(!(`latest`in t))return n(t);let[r]=Object.entries(t.latest);r&&n({event:r[0],value:r[1].value})});return()=>{clearInterval(i),a()}},[e]),t}function S(e,t,n){let r=`${location.origin}/api/v1/devices/${t}/logs`;switch(e){case`mqtt`:return`mosquitto_pub -h ${location.hostname} -p 1883 -q 1 \\
  -u device -P '${n}' \\
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