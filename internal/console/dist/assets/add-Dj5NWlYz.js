import{A as e,Et as t,G as n,M as r,St as i,_ as a,at as o,ct as s,h as c,it as l,l as u,m as d,o as f,s as p,tt as m,u as h,wt as g,x as _}from"./kit-Dg8DU9JU.js";import{i as v}from"./fleet-GNyutErW.js";import{a as y}from"./index-Bn0i5uGx.js";function b({close:e,orgs:n}){let[i]=g(o),[a,l]=g(``),[u,f]=g(null);if(u)return r(h,{title:`Connect ${u.device.name}`,close:e,wide:!0,children:r(S,{...u})});let p=n.filter(e=>e.role!==`viewer`);return r(h,{title:`Add a device`,close:e,children:r(c,{submit:`Add and get its token`,send:async({name:e,type:t,tags:n=``})=>{let r=await m(`/devices`,{name:e,type:t?.trim()||`sensor`,tags:v(n),...a&&{organization_id:a}},i),{token:o}=await s(`/devices/${r.id}/tokens`);f({device:r,token:o})},children:e=>r(t,{children:[r(d,{label:`Name`,name:`name`,required:!0,autofocus:!0,maxLength:100,placeholder:`Kitchen sensor`,autocomplete:`off`,error:e?.fields.name}),r(d,{label:`Type`,name:`type`,placeholder:`sensor`,maxLength:64,autocomplete:`off`,hint:`What kind of device it is, such as sensor, plug or thermostat`,error:e?.fields.type}),r(d,{label:`Tags (optional)`,name:`tags`,placeholder:`kitchen, ground floor`,autocomplete:`off`,error:e?.fields.tags}),p.length>0&&r(_,{label:`Belongs to`,value:a,onPick:l,options:[[``,`You`],...p.map(e=>[e.id,e.name])]})]})})})}var x=[[`curl`,`curl`],[`mqtt`,`MQTT`],[`arduino`,`Arduino`],[`go`,`Go`],[`python`,`Python`]];function S({device:i,token:o}){let[s,c]=g(`curl`),l=C(i.id);return r(t,{children:[r(`div`,{class:`token`,children:[r(`div`,{children:[r(`b`,{children:`Token of the device`}),r(`small`,{class:`soft`,children:`It is shown only now: copy it, or make another one later.`}),r(`code`,{children:o})]}),r(u,{text:o,label:`Copy token`})]}),r(`p`,{children:`Send a reading from the device, or from this computer to try it:`}),r(f,{label:`Language`,options:x,value:s,onPick:c}),r(p,{text:w(s,i.id,o),label:`Lines for ${s}`}),s===`mqtt`&&r(`p`,{class:`soft small`,children:[`MQTT must be on: set `,r(`code`,{children:`HEARTH_MQTT_ADDR`}),` on the server.`]}),r(`div`,{class:l?`first good`:`first`,role:`status`,children:l?r(t,{children:[r(e,{name:`check`}),r(`span`,{children:[r(`b`,{children:`It works.`}),` The first reading: `,l.event,` = `,n(l.value)]})]}):r(t,{children:[r(`span`,{class:`pulse`}),r(`span`,{children:`Waiting for the first reading …`})]})}),r(`div`,{class:`form-foot`,children:r(a,{look:l?`main`:`quiet`,href:`/devices/${i.id}`,children:`Open the device`})})]})}function C(e){let[t,n]=g(null);return i(()=>{let t=async()=>{let t=await l(`/devices/${e}/latest`).catch(()=>null);t?.items[0]&&n(t.items[0])},r=setInterval(()=>void t(),5e3),i=y(`device-log`,t=>{if(t.device_id!==e)return;if(!(`latest`in t))return n(t);let[r]=Object.entries(t.latest);r&&n({event:r[0],value:r[1].value})});return()=>{clearInterval(r),i()}},[e]),t}function w(e,t,n){let r=`${location.origin}/api/v1/devices/${t}/logs`;switch(e){case`mqtt`:return`mosquitto_pub -h ${location.hostname} -p 1883 -q 1 \\
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
  -d '{"event": "temperature", "value": 21.5}'`}}export{S as n,b as t};