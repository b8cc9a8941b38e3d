-- Sends every new radiograph to cxrserve, but none of the results of cxrserve.
-- Orthanc tries once: if cxrserve does not answer, Orthanc forgets the object and reports success.
-- cxrserve fetches such radiographs itself (`servers` in rules.compose.yaml) if their study is recent.

local RADIOGRAPHS = {
  ['1.2.840.10008.5.1.4.1.1.1'] = true,   -- Computed Radiography
  ['1.2.840.10008.5.1.4.1.1.1.1'] = true, -- Digital X-Ray, for presentation
}

function OnStoredInstance(instanceId, tags, metadata, origin)
  local fromCxrserve = origin['RemoteAet'] == 'CXRSERVE'
  if RADIOGRAPHS[tags['SOPClassUID']] and not fromCxrserve then
    SendToModality(instanceId, 'cxrserve')
  end
end
