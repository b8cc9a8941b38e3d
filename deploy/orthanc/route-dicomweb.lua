-- Like route.lua, but by DICOMweb, for a cxrserve that is reachable over HTTPS only. Name this file in LuaScripts
-- instead of route.lua; url and token are in orthanc.json under DicomWeb, Servers.
-- A job of Orthanc sends it (Synchronous = false), so that storing an object never waits for cxrserve.

local RADIOGRAPHS = {
  ['1.2.840.10008.5.1.4.1.1.1'] = true,   -- Computed Radiography
  ['1.2.840.10008.5.1.4.1.1.1.1'] = true, -- Digital X-Ray, for presentation
}

function OnStoredInstance(instanceId, tags, metadata, origin)
  if RADIOGRAPHS[tags['SOPClassUID']] then  -- which results are not
    local order = {Resources = {instanceId}, Synchronous = false}
    RestApiPost('/dicom-web/servers/cxrserve/stow', DumpJson(order))
  end
end
